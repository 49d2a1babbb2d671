// What a publisher asks of the archive of its log, if there is one: the composition root (tools/) gives it, so that
// this room needs not know what an archive is.
//
// With it a log that was trimmed behind its archive holds a reference to the archive's newest image instead of another
// whole image of its own, and a page table that was lost can be made again from there.
#pragma once

#include <cstdint>
#include <optional>
#include <stop_token>
#include <vector>

#include "bus/envelope.h"
#include "ltx/base/result.h"
#include "ltx/format/types.h"

namespace runnel::publisher {

struct ArchivedImage {
  bus::SnapshotRef ref;  // a whole image that is there
  Position reach;        // the newest image that can be made of the archive: the log has to lead on from here
};

class ImageArchive {
 public:
  virtual ~ImageArchive() = default;

  // What was last known of the archive; nullopt: nothing of this lineage (yet). Never waits.
  virtual std::optional<ArchivedImage> Newest(const bus::Lineage& lineage) const = 0;

  // The newest image that is not behind `at_most`, read and proven: for a page table that was lost.
  // Errors: kNotFound, kCorrupt, kUnsupported, the store's.
  struct Image {
    Position position;
    PageSize page_size;
    std::vector<Checksum> checksums;  // by page number - 1; of the lock page 0
    uint32_t change_counter = 0;      // of page 1
  };
  virtual Result<Image> ReadImage(const bus::Lineage& lineage, Txid at_most, std::stop_token stop) = 0;
};

}  // namespace runnel::publisher
