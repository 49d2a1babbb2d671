#include "tools/published_archive.h"

#include <optional>
#include <string>
#include <utility>

#include "ltx/sqlite/db_header.h"
#include "subscriber/archive/layout.h"
#include "subscriber/archive_source.h"

namespace runnel::tools {
namespace {

// Only checksums are wanted of an image, and of its first page the change counter.
class HeaderSink : public restore::ImageSink {
 public:
  Status Start(PageSize, uint32_t) override { return Ok(); }
  Status Write(Pgno first, Bytes pages) override {
    if (first == Pgno(1)) change_counter_ = sqlite::ChangeCounterOf(pages);  // page 1 is written once, by one thread
    return Ok();
  }
  uint32_t change_counter() const { return change_counter_; }

 private:
  uint32_t change_counter_ = 0;
};

bool IsDirectory(const std::string& url) { return url.starts_with("file://"); }

}  // namespace

std::optional<publisher::ArchivedImage> PublishedArchive::Newest(const bus::Lineage& lineage) const {
  const archive::ArchiverSnapshot known = snapshot_();
  const Result<archive::Layout> layout = archive::Layout::ForUrl(config_.archive_url);
  if (!layout.ok() || known.lineage != ToString(lineage) || known.snapshot.txid == Txid()) return std::nullopt;
  const archive::ObjectName name{archive::ObjectKind::kLevel, archive::kSnapshotLevel, Txid(1), known.snapshot.txid};
  return publisher::ArchivedImage{{known.archive, layout->Key(name), known.snapshot}, known.archived};
}

Result<publisher::ImageArchive::Image> PublishedArchive::ReadImage(const bus::Lineage& lineage, Txid at_most,
                                                                   std::stop_token stop) {
  TRY_ASSIGN(subscriber::ArchiveSource source,
             subscriber::ArchiveSource::Open(config_.archive_url, config_.store, stop));
  if (source.lineage() != lineage) return Error(Errc::kNotFound, "holds another lineage");
  const std::optional<Txid> newest = source.Newest(at_most);
  if (!newest) return Error(Errc::kNotFound, "holds no image up to TXID " + ToString(at_most));
  HeaderSink sink;
  TRY_ASSIGN(restore::AssembledImage read, source.WriteImage(*newest, sink, {}, std::move(stop)));
  Image image;
  image.position = read.position;
  image.page_size = read.page_size;
  image.checksums = std::move(read.checksums);
  image.change_counter = sink.change_counter();
  return image;
}

std::vector<std::unique_ptr<PublishedArchive>> ConnectArchives(const archive::Node& archives,
                                                               const std::vector<archive::ArchiveConfig>& configs,
                                                               publisher::NodeConfig& publisher) {
  std::vector<std::unique_ptr<PublishedArchive>> connected;
  for (size_t i = 0; i < configs.size(); ++i) {
    for (publisher::DatabaseConfig& database : publisher.databases) {
      const bool reachable = !IsDirectory(configs[i].archive_url) || IsDirectory(database.bus_url);
      if (database.bus_url != configs[i].bus_url || !reachable) continue;
      connected.push_back(
          std::make_unique<PublishedArchive>(configs[i], [&archives, i] { return archives.Snapshots()[i]; }));
      database.archive = connected.back().get();
    }
  }
  return connected;
}

}  // namespace runnel::tools
