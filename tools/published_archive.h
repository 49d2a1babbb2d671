// The archive of a log as its publisher sees it: the archiver that runs beside it says what is there, and images are
// read from the store itself.
//
// THREAD: Newest and ReadImage of one database's thread. LIFETIME: must outlive the publisher's node; the archivers
// must outlive it.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "publisher/config.h"
#include "publisher/image_archive.h"
#include "subscriber/archive/archiver.h"
#include "subscriber/archive/config.h"
#include "subscriber/archive/node.h"

namespace runnel::tools {

class PublishedArchive : public publisher::ImageArchive {
 public:
  PublishedArchive(archive::ArchiveConfig config, std::function<archive::ArchiverSnapshot()> snapshot)
      : config_(std::move(config)), snapshot_(std::move(snapshot)) {}

  std::optional<publisher::ArchivedImage> Newest(const bus::Lineage& lineage) const override;
  Result<Image> ReadImage(const bus::Lineage& lineage, Txid at_most, std::stop_token stop) override;

 private:
  const archive::ArchiveConfig config_;
  const std::function<archive::ArchiverSnapshot()> snapshot_;
};

// Gives each database the archive of its log, if subscribers can be sent there: a directory is of use only to those on
// this machine, and with a log that is a directory too all are. REQUIRES: `configs` are those of `archives`, in order.
std::vector<std::unique_ptr<PublishedArchive>> ConnectArchives(const archive::Node& archives,
                                                               const std::vector<archive::ArchiveConfig>& configs,
                                                               publisher::NodeConfig& publisher);

}  // namespace runnel::tools
