// What a follower takes from an archive: the image a new replica begins with, and (by the healer) the commits that the
// log has not got any more.
#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "ltx/base/log.h"
#include "ltx/base/progress.h"
#include "subscriber/archive/store/url.h"
#include "subscriber/follower.h"
#include "subscriber/reference.h"

namespace runnel::subscriber {
namespace {

// The assembler's pages become a replica's first image.
class ReplicaSink : public restore::ImageSink {
 public:
  explicit ReplicaSink(replica::ImageOptions options) : options_(std::move(options)) {}

  Status Start(PageSize page_size, [[maybe_unused]] uint32_t page_count) override {
    options_.page_size = page_size;
    TRY_ASSIGN(image_, replica::ReplicaImage::Create(options_));
    return Ok();
  }
  Status Write(Pgno first, Bytes pages) override { return image_->WritePages(first, pages); }

  replica::ReplicaImage& image() { return *image_; }

 private:
  replica::ImageOptions options_;
  std::unique_ptr<replica::ReplicaImage> image_;
};

}  // namespace

// nullopt: none is configured, nor does the log refer to one; or it has not begun yet.
Result<std::optional<ArchiveSource>> Follower::OpenArchive(std::stop_token stop) {
  if (!config_.archive_url.empty()) return OpenArchiveBy(std::nullopt, std::move(stop));
  TRY_ASSIGN(const bus::ImagePlaces places, bus::FindLastImages(*log_, stop));
  return OpenArchiveBy(places.reference, std::move(stop));
}

// What is configured is better known than what the log says.
Result<std::optional<ArchiveSource>> Follower::OpenArchiveBy(const std::optional<bus::ReferencePlace>& reference,
                                                             std::stop_token stop) {
  std::string url = config_.archive_url;
  store::StoreOptions options = config_.store;
  if (url.empty()) {
    if (!reference) return std::optional<ArchiveSource>();
    url = reference->ref.url;
    options = OptionsForReference(url, config_.bus_url, config_.bus, std::move(options));
  }
  Result<ArchiveSource> archive = ArchiveSource::Open(url, std::move(options), std::move(stop));
  if (archive.ok()) return std::optional(std::move(*archive));
  if (archive.code() == Errc::kNotFound) return std::optional<ArchiveSource>();
  // Its own trouble must not end the follower: the log may do without it, and another day has another archive.
  const bool ends_follower = archive.code() == Errc::kUnsupported || archive.code() == Errc::kInvalid;
  return ends_follower ? archive.error().As(Errc::kUnavailable) : archive.error();
}

// True when the replica is there. False: nothing newer than the log's own snapshot is archived.
Result<bool> Follower::BootstrapFromArchive(const bus::ImagePlaces& places, std::stop_token stop) {
  TRY_ASSIGN(std::optional<ArchiveSource> archive, OpenArchiveBy(places.reference, stop));
  if (!archive) return false;
  const std::optional<Txid> newest = archive->Newest();
  if (!newest || (places.snapshot && *newest <= places.snapshot->txid)) return false;
  // The log's end: of the same history, and reaching back to the archive's.
  TRY_ASSIGN(const std::optional<bus::Message> tail, log_->Tail());
  if (!tail) return Error(Errc::kUnavailable, "the log is empty, so it is not known whether the archive is its own");
  Result<bus::Header> header = bus::DecodeHeader(tail->payload);
  if (header.ok() && header->lineage != archive->lineage()) {
    return Error(Errc::kUnavailable, "the archive is of lineage " + bus::ToString(archive->lineage()) +
                                         ", the log of lineage " + bus::ToString(header->lineage));
  }
  TRY_ASSIGN([[maybe_unused]] const std::optional<bus::StreamSeq> on, bus::FindTxid(*log_, newest->Next(), stop));
  replica::ImageOptions options;
  options.path = config_.replica.path;
  options.replace = config_.replace || replace_ours_;
  {
    ReplicaSink sink(options);
    Progress progress("bootstrap", ProgressUnit::kBytes, 0);
    auto advance = [&progress](uint64_t done, uint64_t total) {
      progress.SetTotal(total);
      progress.Set(done);
    };
    TRY_ASSIGN(const restore::AssembledImage image, archive->WriteImage(*newest, sink, advance, stop));
    TRY(sink.image().SetChecksums(image.checksums));
    replica::ReplicaImage::Final final;
    final.lineage = archive->lineage().bytes;
    final.position = image.position;
    final.page_count = image.page_count;
    TRY(sink.image().Finish(final));
    stats_.applied_captured_at = bus::CaptureTime(std::chrono::milliseconds(image.timestamp_ms));
  }
  replace_ours_ = false;
  TRY(AttachReplica());
  lineage_ = archive->lineage();
  ++stats_.snapshots;
  Log(Level::kInfo, "replica_bootstrapped",
      {{"db", config_.name}, {"position", ToString(stats_.applied)}, {"from", "archive"}});
  UpdateSnapshot();
  return true;
}

}  // namespace runnel::subscriber
