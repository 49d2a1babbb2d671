// What a feed takes from an archive: the image it begins with, and the commits that the log has not got any more.
#include <utility>

#include "ltx/base/log.h"
#include "ltx/base/sync.h"
#include "subscriber/feed/feed_image.h"
#include "subscriber/feed_entries.h"
#include "subscriber/feed_runner.h"

namespace runnel::subscriber {
namespace {

// The assembler's pages become a feed's image. It writes from several threads, an image is one thread's: they take
// turns here, while decoding goes on beside it.
class FeedImageSink : public restore::ImageSink {
 public:
  explicit FeedImageSink(feed::FeedImage& image) : image_(image) {}

  Status Start(PageSize page_size, uint32_t page_count) override {
    page_size_ = page_size;
    return image_.StartImage(page_size, page_count);
  }
  Status Write(Pgno first, Bytes pages) override {
    MutexLock lock(mutex_);
    for (uint32_t n = first.raw(); !pages.empty(); ++n) {
      TRY(image_.AddImagePage(Pgno(n), pages.first(page_size_.raw())));
      pages = pages.subspan(page_size_.raw());
    }
    return Ok();
  }

 private:
  feed::FeedImage& image_;
  PageSize page_size_;
  Mutex mutex_;
};

}  // namespace

// nullopt: none is configured, or it has not begun yet.
Result<std::optional<ArchiveSource>> FeedRunner::OpenArchive(const feed::LineageId& lineage, std::stop_token stop) {
  if (config_.archive_url.empty()) return std::optional<ArchiveSource>();
  Result<ArchiveSource> archive = ArchiveSource::Open(config_.archive_url, config_.store, std::move(stop));
  if (!archive.ok() && archive.code() == Errc::kNotFound) return std::optional<ArchiveSource>();
  if (!archive.ok()) return archive.error();
  if (archive->lineage().bytes != lineage) {
    return Error(Errc::kRefused,
                 "it is of lineage " + ToString(archive->lineage()) + ", the feed's is " + feed::ToString(lineage));
  }
  return std::optional(std::move(*archive));
}

// Errors: kNotFound (it reaches no image that old).
Status FeedRunner::BootstrapFromArchive(ArchiveSource& archive, feed::FeedImage& image, feed::Feeder& feeder,
                                        const Beginning& beginning, std::stop_token stop) {
  const bool from_the_first = beginning.start.kind == FeedStart::Kind::kEarliest;
  const std::optional<Txid> at = from_the_first ? archive.OldestFollowedImage() : archive.Newest(beginning.newest);
  if (!at || *at > beginning.newest) {
    return Error(Errc::kNotFound, "the archive has no image of commit " + ToString(beginning.newest) + " or before it");
  }
  FeedImageSink sink(image);
  TRY_ASSIGN(const restore::AssembledImage made, archive.WriteImage(*at, sink, {}, std::move(stop)));
  const bus::CaptureTime captured_at(std::chrono::milliseconds(made.timestamp_ms));
  Log(Level::kInfo, "feed_bootstrapped",
      {{"db", config_.name}, {"position", ToString(made.position)}, {"from", "archive"}});
  return feeder.Adopt({beginning.lineage, made.position, captured_at},
                      StateFor(beginning.start, *at, beginning.newest));
}

// Commit by commit to the archive's end. Errors: kGap (it cannot lead on from here).
Status FeedRunner::FollowArchive(feed::FeedImage& image, feed::Feeder& feeder, std::stop_token stop) {
  TRY_ASSIGN(std::optional<ArchiveSource> archive, OpenArchive(image.state().lineage, stop));
  if (!archive) return Error(Errc::kGap, "there is none yet at its place");
  FeedCursor cursor(image.state().lineage, feeder.position());
  auto take = [&](const feed::FeedEntry& entry) { return Take(feeder, entry, stop); };
  auto visit = [&](const ArchiveSource::LogFile& file) -> Result<bool> {
    if (Reached(feeder)) return false;
    TRY(cursor.Show(file.entry, file.header, file.source, take));
    return true;
  };
  const Position before = feeder.position();
  Status walked = archive->WalkLogFiles(before.txid, visit);
  Log(Level::kInfo, "feed_read_archive",
      {{"db", config_.name}, {"from", ToString(before)}, {"position", ToString(feeder.position())}});
  // Its objects are joined and removed while we read.
  if (!walked.ok() && walked.code() == Errc::kNotFound) return walked.error().As(Errc::kUnavailable);
  return walked;
}

}  // namespace runnel::subscriber
