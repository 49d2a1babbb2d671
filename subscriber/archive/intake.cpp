#include "subscriber/archive/intake.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "ltx/base/check.h"
#include "ltx/base/crash_point.h"
#include "ltx/format/compactor.h"
#include "ltx/format/encoder.h"
#include "subscriber/archive/object_io.h"
#include "subscriber/archive/plan.h"

namespace runnel::archive {
namespace {

// Passes bytes on and keeps a copy going into a segment.
class Tee : public ltx::ByteSource {
 public:
  Tee(ltx::ByteSource& source, SegmentWriter* writer) : source_(source), writer_(writer) {}
  Result<size_t> Read(MutableBytes out) override {
    TRY_ASSIGN(size_t got, source_.Read(out));
    if (writer_ != nullptr && got != 0) TRY(writer_->WriteFile(Bytes(out).first(got)));
    return got;
  }

 private:
  ltx::ByteSource& source_;
  SegmentWriter* writer_;
};

// One file of many in memory, without checksums: in rounds, so that a merge never has more than InputsMax inputs.
Result<std::string> MergeInMemory(std::vector<Bytes> files, PageSize page_size, ltx::Compacted& compacted) {
  const size_t inputs_max = InputsMax(page_size);
  std::vector<std::string> round;  // what `files` points into after the first round
  while (true) {
    std::vector<std::string> next;
    for (size_t at = 0; at < files.size(); at += inputs_max) {
      std::vector<ltx::BytesSource> sources;
      for (size_t i = at; i < std::min(files.size(), at + inputs_max); ++i) sources.emplace_back(files[i]);
      std::vector<ltx::ByteSource*> inputs;
      for (ltx::BytesSource& source : sources) inputs.push_back(&source);
      ltx::StringSink sink;
      TRY_ASSIGN(compacted, ltx::Compact(inputs, sink, ltx::ChecksumMode::kDrop));
      next.push_back(sink.Take());
    }
    if (next.size() == 1) return std::move(next.front());
    round = std::move(next);
    files.clear();
    for (const std::string& file : round) files.push_back(AsBytes(file));
  }
}

ArchivedObject Describe(ObjectName name, const IntakeEnd& end, uint32_t page_count) {
  ArchivedObject object;
  object.name = name;
  object.page_count = page_count;
  object.checksum = end.position.checksum;
  object.captured_at = end.captured_at;
  if (name.kind == ObjectKind::kSegment) object.last_seq = end.log_seq;
  return object;
}

// Decodes the source and encodes it again in Litestream's dialect.
struct Recoded {
  ltx::Header header;
  ltx::Trailer from;
  ltx::Trailer to;
  uint64_t bytes = 0;
};
Result<Recoded> Recode(ltx::ByteSource& source, const bus::Entry& entry, PageSize page_size, ltx::ByteSink& sink) {
  ltx::Decoder decoder(source);
  ltx::Encoder encoder(sink);
  Recoded recoded;
  TRY_ASSIGN(recoded.header, decoder.Begin());
  TRY(CheckHeader(recoded.header, entry, page_size));
  ltx::Header header = recoded.header;
  header.no_checksum = true;
  header.pre_apply_checksum = Checksum();
  header.wal_offset = header.wal_bytes = 0;
  header.wal_salt1 = header.wal_salt2 = 0;
  header.node_id = 0;
  TRY(encoder.Begin(header));
  while (true) {
    TRY_ASSIGN(std::optional<ltx::Page> page, decoder.Next());
    if (!page) break;
    TRY(encoder.AddPage(page->pgno, page->data));
  }
  TRY_ASSIGN(recoded.from, decoder.Finish());
  TRY_ASSIGN(recoded.to, encoder.Finish(Checksum()));
  recoded.bytes = encoder.bytes_written();
  return recoded;
}

}  // namespace

Status CheckHeader(const ltx::Header& header, const bus::Entry& entry, PageSize page_size) {
  const std::string name = ltx::FileName(header.min_txid, header.max_txid);
  if (header.min_txid != entry.min_txid || header.max_txid != entry.max_txid) {
    return Error(Errc::kCorrupt, "the log's message promises TXIDs " + ToString(entry.min_txid) + "-" +
                                     ToString(entry.max_txid) + ", its LTX is " + name);
  }
  if (header.page_size != page_size) {
    return Error(Errc::kCorrupt, name + ": pages of " + std::to_string(header.page_size.raw()) +
                                     " bytes, the archive's have " + std::to_string(page_size.raw()));
  }
  if (header.no_checksum) return Error(Errc::kCorrupt, name + ": does not track checksums");
  if (header.commit == 0) return Error(Errc::kUnsupported, name + ": a database without pages cannot be archived");
  return Ok();
}

Result<CheckedLtx> CheckLtx(Bytes ltx, const bus::Entry& entry, PageSize page_size) {
  ltx::BytesSource source(ltx);
  ltx::Decoder decoder(source);
  CheckedLtx checked;
  TRY_ASSIGN(checked.header, decoder.Begin());
  TRY(CheckHeader(checked.header, entry, page_size));
  while (true) {
    TRY_ASSIGN(std::optional<ltx::Page> page, decoder.Next());
    if (!page) break;
  }
  TRY_ASSIGN(ltx::Trailer trailer, decoder.Finish());
  checked.checksum = trailer.post_apply_checksum;
  return checked;
}

Result<std::unique_ptr<store::ObjectWriter>> Intake::StartPut(const ObjectName& name, bus::CaptureTime captured_at) {
  store::PutOptions options;
  options.condition = store::WriteCondition::IfAbsent();
  options.timestamp = std::chrono::floor<std::chrono::milliseconds>(captured_at);
  Result<std::unique_ptr<store::ObjectWriter>> writer = catalog_.store().StartPut(catalog_.Key(name), options);
  if (!writer.ok()) return writer.error().With(ToString(name));
  return std::move(*writer);
}

Status Intake::Name(std::vector<ArchivedObject> objects, const IntakeEnd& end) {
  CrashPoint("archive_objects_put");
  TRY(catalog_.Update([&](Manifest& manifest) {
    if (manifest.incarnation != end.incarnation) {
      for (ArchivedObject& object : manifest.objects) object.last_seq = bus::StreamSeq();
    }
    for (ArchivedObject& object : objects) manifest.Insert(std::move(object));
    manifest.position = end.position;
    manifest.captured_at = end.captured_at;
    manifest.log_seq = end.log_seq;
    manifest.epoch = end.epoch;
    manifest.incarnation = end.incarnation;
    if (end.unproven) manifest.unproven_txid = end.position.txid;
  }));
  CrashPoint("archive_objects_named");
  return Ok();
}

Status Intake::PutFiles(const std::vector<IntakeFile>& files, const IntakeEnd& end) {
  CHECK(!files.empty(), "something to put");
  const Manifest& manifest = catalog_.manifest();
  const Txid min_txid = files.front().record.min_txid;
  const Txid max_txid = files.back().record.max_txid;
  ltx::StringSink sink;
  SegmentWriter writer(sink, manifest.lineage, manifest.page_size);
  TRY(writer.Begin());
  std::vector<Bytes> inputs;
  for (const IntakeFile& file : files) {
    TRY(writer.AddFile(file.record, AsBytes(file.ltx)));
    inputs.push_back(AsBytes(file.ltx));
  }
  TRY_ASSIGN(SegmentSummary summary, writer.Finish());
  ltx::Compacted compacted;
  TRY_ASSIGN(std::string level, MergeInMemory(std::move(inputs), manifest.page_size, compacted));

  ArchivedObject segment = Describe({ObjectKind::kSegment, 0, min_txid, max_txid}, end, compacted.header.commit);
  segment.bytes = summary.bytes;
  segment.file_checksum = summary.file_checksum;
  ArchivedObject level0 = Describe({ObjectKind::kLevel, 0, min_txid, max_txid}, end, compacted.header.commit);
  level0.bytes = level.size();
  level0.file_checksum = compacted.trailer.file_checksum;
  for (const auto& [object, bytes] : {std::pair(&segment, sink.Take()), std::pair(&level0, std::move(level))}) {
    TRY_ASSIGN(std::unique_ptr<store::ObjectWriter> put, StartPut(object->name, end.captured_at));
    TRY(put->Write(AsBytes(bytes)));
    Result<std::string> version = put->Commit();
    if (!version.ok()) return version.error().With(ToString(object->name));
    CrashPoint(object == &segment ? "archive_segment_put" : "archive_level0_put");
  }
  return Name({segment, level0}, end);
}

Result<Position> Intake::PutLargeFile(ltx::ByteSource& source, const bus::Entry& entry, IntakeEnd end,
                                      const EndSeq& seq) {
  const Manifest& manifest = catalog_.manifest();
  ArchivedObject segment = Describe({ObjectKind::kSegment, 0, entry.min_txid, entry.max_txid}, end, 0);
  ArchivedObject level0 = Describe({ObjectKind::kLevel, 0, entry.min_txid, entry.max_txid}, end, 0);
  TRY_ASSIGN(std::unique_ptr<store::ObjectWriter> segment_put, StartPut(segment.name, entry.captured_at));
  TRY_ASSIGN(std::unique_ptr<store::ObjectWriter> level_put, StartPut(level0.name, entry.captured_at));
  ObjectSink segment_sink(*segment_put);
  ObjectSink level_sink(*level_put);
  SegmentWriter writer(segment_sink, manifest.lineage, manifest.page_size);
  TRY(writer.Begin());
  Tee tee(source, &writer);
  TRY_ASSIGN(Recoded recoded, Recode(tee, entry, manifest.page_size, level_sink));
  end.position = {entry.max_txid, recoded.from.post_apply_checksum};
  end.captured_at = entry.captured_at;
  end.log_seq = seq();
  SegmentRecord record;
  record.min_txid = entry.min_txid;
  record.max_txid = entry.max_txid;
  record.origin = entry.origin;
  record.captured_at = entry.captured_at;
  record.checksum = end.position.checksum;
  record.seq = end.log_seq;
  TRY(writer.EndFile(record));
  TRY_ASSIGN(SegmentSummary summary, writer.Finish());
  CrashPoint("archive_large_written");
  TRY(segment_put->Commit());
  TRY(level_put->Commit());
  segment = Describe(segment.name, end, recoded.header.commit);
  segment.bytes = summary.bytes;
  segment.file_checksum = summary.file_checksum;
  level0 = Describe(level0.name, end, recoded.header.commit);
  level0.bytes = recoded.bytes;
  level0.file_checksum = recoded.to.file_checksum;
  TRY(Name({segment, level0}, end));
  return end.position;
}

Result<Position> Intake::PutImage(ltx::ByteSource& source, const bus::Entry& entry, IntakeEnd end, const EndSeq& seq) {
  const ObjectName name = {ObjectKind::kLevel, kSnapshotLevel, Txid(1), entry.max_txid};
  TRY_ASSIGN(std::unique_ptr<store::ObjectWriter> put, StartPut(name, entry.captured_at));
  ObjectSink sink(*put);
  TRY_ASSIGN(Recoded recoded, Recode(source, entry, catalog_.manifest().page_size, sink));
  end.position = {entry.max_txid, recoded.from.post_apply_checksum};
  end.captured_at = entry.captured_at;
  end.log_seq = seq();
  CrashPoint("archive_image_written");
  TRY(put->Commit());
  ArchivedObject image = Describe(name, end, recoded.header.commit);
  image.bytes = recoded.bytes;
  image.file_checksum = recoded.to.file_checksum;
  TRY(Name({image}, end));
  return end.position;
}

}  // namespace runnel::archive
