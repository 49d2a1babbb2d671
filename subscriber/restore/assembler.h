// From LTX files to one database image, each page written once.
//
// Walk: the files are taken newest first. One thread takes them apart (ltx::FrameScanner) and claims each page for the
// first file that holds it, which is the newest; decode threads decompress, sum up, and write runs of claimed pages. So
// nothing depends on which thread is done first, and pages that newer files replace are decompressed (their file's
// checksum wants that) but not written.
//
//   blocks ──► scan, claim ──► units (frames of one block, about 256 KiB of pages) ──► decode, sum, write
//
// Invariants:
//   I1  Success means: every file was whole and had its checksum, their TXIDs leave none out, every page of the image
//       was in one of them and was written once. Nothing less may be shown to anybody.
//   I2  Memory: the fetcher's blocks, one run of pages a thread, a bit a page, eight bytes a page if checksums are
//       kept, and a few bytes a unit. Not the pages.
//
// A page that a file in between cut off, and a newer one grew over without holding it, comes back with its old bytes,
// as in ltx/format/compactor.h; where the image's checksum is known, that is found.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <vector>

#include "ltx/base/result.h"
#include "ltx/format/header.h"
#include "ltx/format/types.h"
#include "subscriber/restore/block_fetcher.h"
#include "subscriber/restore/image_sink.h"
#include "subscriber/restore/part.h"

namespace runnel::restore {

struct AssembleOptions {
  FetchOptions fetch;
  uint32_t decode_threads = 2;
  bool keep_checksums = false;  // of each page
  // Called from the calling thread with the fetched bytes that have been scanned so far.
  std::function<void(uint64_t)> progress;
};

struct AssembledImage {
  PageSize page_size;
  uint32_t page_count = 0;
  Txid min_txid;                    // of the oldest file: 1, as it is a snapshot
  Position position;                // the checksum is that of the pages written
  int64_t timestamp_ms = 0;         // of the newest file
  bool proven = false;              // by a checksum of the whole image that somebody has noted
  std::vector<Checksum> checksums;  // by page number - 1, if kept; of the lock page 0
};

// `pieces` newest first, the oldest file is a snapshot. REQUIRES: at least one part.
// Errors: kCorrupt (a file, or files that do not fit together; the image is not what a file says it is); the store's;
// the sink's; kCancelled.
Result<AssembledImage> Assemble(store::ObjectStore& store, const std::vector<Piece>& pieces, ImageSink& sink,
                                const AssembleOptions& options, std::stop_token stop);

}  // namespace runnel::restore
