#include "subscriber/archive/compact.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ltx/base/crash_point.h"
#include "ltx/format/checksum.h"
#include "ltx/format/compactor.h"
#include "subscriber/archive/object_io.h"
#include "subscriber/archive/segment.h"

namespace runnel::archive {
namespace {

constexpr uint64_t kInputBufferBytes = 64 << 10;

// Counts, remembers the file checksum at the end, and ends the work when a stop is asked for.
class Counted : public ltx::ByteSource {
 public:
  Counted(ltx::ByteSource& source, const OnBytes& on_bytes, std::stop_token stop)
      : source_(source), on_bytes_(on_bytes), stop_(std::move(stop)) {}

  Result<size_t> Read(MutableBytes out) override {
    if (stop_.stop_requested()) return Error(Errc::kCancelled, "stopped");
    TRY_ASSIGN(size_t got, source_.Read(out));
    if (on_bytes_) on_bytes_(got);
    if (got >= sizeof end_) {
      std::memcpy(end_, out.data() + got - sizeof end_, sizeof end_);
    } else {
      std::memmove(end_, end_ + got, sizeof end_ - got);
      std::memcpy(end_ + sizeof end_ - got, out.data(), got);
    }
    return got;
  }
  uint64_t file_checksum() const { return LoadBe64(end_); }

 private:
  ltx::ByteSource& source_;
  const OnBytes& on_bytes_;
  const std::stop_token stop_;
  std::byte end_[8] = {};
};

// The inputs of a job as sources that live as long as this.
struct Sources {
  Sources(store::ObjectStore& store, const Layout& layout, const Job& job, const OnBytes& on_bytes,
          const std::stop_token& stop) {
    for (const ArchivedObject& input : job.inputs) {
      objects.push_back(std::make_unique<ObjectSource>(store, layout.Key(input.name), input.bytes, kInputBufferBytes));
      counted.push_back(std::make_unique<Counted>(*objects.back(), on_bytes, stop));
      pointers.push_back(counted.back().get());
    }
  }
  std::vector<std::unique_ptr<ObjectSource>> objects;
  std::vector<std::unique_ptr<Counted>> counted;
  std::vector<ltx::ByteSource*> pointers;
};

ArchivedObject Describe(const Job& job) {
  ArchivedObject object = job.inputs.back();
  object.name = job.output;
  object.condemned_at = bus::CaptureTime();
  if (job.kind != Job::Kind::kSegments) object.last_seq = bus::StreamSeq();
  return object;
}

// As ltx::Compact without checksums, and the sum of the pages: for a whole image that is its checksum.
Result<ArchivedObject> MergeLevels(const Job& job, Sources& sources, ltx::ByteSink& sink) {
  ltx::Merger merger(sources.pointers);
  TRY_ASSIGN(ltx::Header header, merger.Begin());
  if (header.min_txid != job.output.min_txid || header.max_txid != job.output.max_txid) {
    return Error(Errc::kCorrupt, "the objects are not what their names say");
  }
  header.no_checksum = true;
  header.pre_apply_checksum = Checksum();
  ltx::Encoder encoder(sink);
  TRY(encoder.Begin(header));
  Checksum sum = Checksum::Empty();
  while (true) {
    TRY_ASSIGN(std::optional<ltx::Page> page, merger.Next());
    if (!page) break;
    if (job.kind == Job::Kind::kSnapshot) sum = sum.Toggle(ltx::PageChecksum(page->pgno, page->data));
    TRY(encoder.AddPage(page->pgno, page->data));
  }
  TRY(merger.Finish());
  for (size_t i = 0; i < job.inputs.size(); ++i) {
    if (sources.counted[i]->file_checksum() != job.inputs[i].file_checksum) {
      return Error(Errc::kCorrupt, ToString(job.inputs[i].name) + " is not the one that was written");
    }
  }
  ArchivedObject object = Describe(job);
  if (job.kind == Job::Kind::kSnapshot && sum != object.checksum) {
    return Error(Errc::kCorrupt, "the archive does not lead from snapshot " + ToString(job.inputs.front().position()) +
                                     " to " + ToString(object.position()) + ": its objects give checksum " +
                                     ToString(sum));
  }
  TRY_ASSIGN(ltx::Trailer trailer, encoder.Finish(Checksum()));
  object.page_count = header.commit;
  object.bytes = encoder.bytes_written();
  object.file_checksum = trailer.file_checksum;
  return object;
}

Result<ArchivedObject> JoinSegments(store::ObjectStore& store, const Layout& layout, const Manifest& manifest,
                                    const Job& job, Sources& sources, ltx::ByteSink& sink) {
  SegmentWriter writer(sink, manifest.lineage, manifest.page_size);
  TRY(writer.Begin());
  for (size_t i = 0; i < job.inputs.size(); ++i) {
    const ArchivedObject& input = job.inputs[i];
    ObjectRandomSource tail(store, layout.Key(input.name), input.bytes);
    TRY_ASSIGN(SegmentReader reader, SegmentReader::Open(tail));
    if (reader.summary().file_checksum != input.file_checksum || reader.summary().lineage != manifest.lineage) {
      return Error(Errc::kCorrupt, ToString(input.name) + " is not the one that was written");
    }
    std::vector<std::byte> header(kSegmentHeaderBytes);
    for (size_t used = 0; used < header.size();) {
      TRY_ASSIGN(size_t got, sources.pointers[i]->Read(MutableBytes(header).subspan(used)));
      if (got == 0) return Error(Errc::kCorrupt, ToString(input.name) + " is too short");
      used += got;
    }
    for (const SegmentBlock& block : reader.blocks()) {
      SegmentRecord last;
      last.max_txid = block.max_txid;
      last.checksum = input.checksum;  // right for the last block, which is the one that is asked
      TRY(writer.CopyBlock(block, last, *sources.pointers[i]));
    }
    sources.counted[i].reset();
    sources.objects[i].reset();
  }
  TRY_ASSIGN(SegmentSummary summary, writer.Finish());
  ArchivedObject object = Describe(job);
  object.bytes = summary.bytes;
  object.file_checksum = summary.file_checksum;
  return object;
}

}  // namespace

Result<ArchivedObject> RunJob(store::ObjectStore& store, const Layout& layout, const Manifest& manifest, const Job& job,
                              const OnBytes& on_bytes, std::stop_token stop) {
  const std::string what = ToString(job.output);
  store::PutOptions options;
  options.condition = store::WriteCondition::IfAbsent();
  options.timestamp = std::chrono::floor<std::chrono::milliseconds>(job.inputs.back().captured_at);
  Result<std::unique_ptr<store::ObjectWriter>> writer = store.StartPut(layout.Key(job.output), options);
  if (!writer.ok()) return writer.error().With(what);
  ObjectSink sink(**writer);
  Sources sources(store, layout, job, on_bytes, stop);
  CrashPoint("archive_job_begun");
  Result<ArchivedObject> made = job.kind == Job::Kind::kSegments
                                    ? JoinSegments(store, layout, manifest, job, sources, sink)
                                    : MergeLevels(job, sources, sink);
  if (!made.ok()) {
    (*writer)->Abort();
    return made.error().With(what);
  }
  CrashPoint("archive_job_written");
  Result<std::string> version = (*writer)->Commit();
  if (!version.ok()) return version.error().With(what);
  CrashPoint("archive_job_put");
  return made;
}

}  // namespace runnel::archive
