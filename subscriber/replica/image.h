// Writes the first image of a replica: pages into a new file, proven by the checksum of its position, then renamed into
// place.
//
// Walk: Create, AddPage (ascending), Finish. Without Finish nothing is left but files in the side directory.
// I1  The file at `path` is at every moment either what was there before or the whole new image.
// I2  A crash between the renames is finished by the next Replica::Attach, or reported by it as kNotFound (make it
//     again).
// THREAD: one. LIFETIME: holds the replica's lock, so no subscriber can be attached; destroy it before Replica::Attach.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ltx/base/bytes.h"
#include "ltx/base/result.h"
#include "ltx/format/page_table.h"
#include "ltx/format/types.h"
#include "subscriber/replica/position_file.h"
#include "subscriber/replica/side_files.h"

namespace runnel::replica {

struct ImageOptions {
  std::string path;
  PageSize page_size;
  // A file is there: take its place. It must not be in use: clients that have it open would be left with the old one.
  bool replace = false;
  std::optional<mode_t> mode = std::nullopt;  // else that of the file replaced, else 0666 less the umask
};

class ReplicaImage {
 public:
  // Errors: kRefused (a file is there and `replace` is not set; kept by a subscriber); kInvalid (page size); kIo;
  // kExhausted.
  static Result<std::unique_ptr<ReplicaImage>> Create(const ImageOptions& options);
  ~ReplicaImage();

  // Ascending and without holes, but for the lock page.
  Status AddPage(Pgno pgno, Bytes page);

  // Instead of AddPage: whole pages in any order, from any thread; then SetChecksums once, by page number - 1 (of the
  // lock page it is not looked at).
  Status WritePages(Pgno first, Bytes pages);
  Status SetChecksums(std::span<const Checksum> checksums);

  struct Final {
    LineageBytes lineage{};
    Position position;
    uint32_t page_count = 0;
    uint64_t log_sequence = 0;
  };
  // Errors: kCorrupt (pages missing, or another checksum than the position's); kUnsupported (not an image in WAL mode);
  // kUnavailable (the file to be replaced is in use). DURABLE: the replica, ready for Attach.
  Status Finish(const Final& final);

 private:
  ReplicaImage(const ImageOptions& options, std::unique_ptr<SideFiles> side)
      : options_(options), side_(std::move(side)) {}
  Status Open();
  Status WriteBuffered();
  Status CheckComplete(const Final& final) const;
  Status CheckHeader() const;
  Status SyncImage();
  Status PutInPlace(const Final& final);

  const ImageOptions options_;
  std::unique_ptr<SideFiles> side_;
  std::unique_ptr<ltx::PageTable> table_;
  int fd_ = -1;  // of the new file, which SQLite does not know yet
  std::vector<std::byte> buffer_;
  std::vector<std::byte> header_;  // the first bytes of page 1
  uint64_t buffer_offset_ = 0;
  uint32_t next_pgno_ = 1;
  Checksum sum_ = Checksum::Empty();
};

}  // namespace runnel::replica
