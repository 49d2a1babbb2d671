// What a subscriber takes from an archive: whole images, and the files that lead to or on from one.
//
// Opened anew for each use: an archive goes on while a replica lives.
// THREAD: one. LIFETIME: of the store inside.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "bus/envelope.h"
#include "ltx/base/result.h"
#include "ltx/format/decoder.h"
#include "ltx/format/types.h"
#include "subscriber/archive/store/open.h"
#include "subscriber/restore/assembler.h"
#include "subscriber/restore/catalog.h"

namespace runnel::subscriber {

// How an archive under this URL is read: in parallel as far as its store gains by it, in bounded memory.
restore::AssembleOptions AssembleOptionsFor(const std::string& url);

class ArchiveSource {
 public:
  // Errors: kNotFound (no archive there); kUnsupported (one that does not say whose history it holds: Litestream's);
  // the store's.
  static Result<ArchiveSource> Open(const std::string& url, store::StoreOptions options, std::stop_token stop);

  const bus::Lineage& lineage() const { return catalog_->origin()->lineage; }
  // The newest TXID that can be reached, not behind `at_most`; nullopt: none.
  std::optional<Txid> Newest(Txid at_most = Txid(UINT64_MAX - 1)) const;

  // The image of exactly this TXID, proven. Errors: kCorrupt; the store's; the sink's.
  Result<restore::AssembledImage> WriteImage(Txid txid, restore::ImageSink& sink,
                                             const std::function<void(uint64_t done, uint64_t total)>& progress,
                                             std::stop_token stop);

  // Files that lead from `from` (0: from nothing) to `upto`, oldest first; return false to end the walk. Their own
  // checksums are verified by whoever reads them; `checksum` is the database's behind them.
  struct File {
    const restore::Part& part;
    Checksum checksum;
    ltx::ByteSource& source;
  };
  Status Walk(Txid from, Txid upto, const std::function<Result<bool>(const File&)>& visit);
  // Files of the log itself, as they lay in it, commit by commit: those of the segments that hold more than `after`,
  // oldest first; return false to end the walk. Errors: kGap (segments that lead on from `after` are no longer kept, or
  // one is missing), kNotFound (an object went away under us: open the archive again), kCorrupt; the store's.
  struct LogFile {
    bus::Entry entry;  // without its bytes
    ltx::Header header;
    ltx::ByteSource& source;
  };
  Status WalkLogFiles(Txid after, const std::function<Result<bool>(const LogFile&)>& visit);
  // The oldest image behind which the segments hold all that came; nullopt: none.
  std::optional<Txid> OldestFollowedImage() const;
  // What Walk would read. Errors: kNotFound: there is no way.
  Result<uint64_t> BytesOfWalk(Txid from, Txid upto) const;

 private:
  ArchiveSource() = default;
  std::vector<const restore::CatalogObject*> SegmentsBehind(Txid after) const;

  std::string url_;
  std::unique_ptr<store::ObjectStore> store_;
  std::optional<restore::Catalog> catalog_;
};

}  // namespace runnel::subscriber
