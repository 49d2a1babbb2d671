// Makes one LTX of several that follow each other: of each page the newest version, streaming, in memory of one page
// and one compressed page an input. Merger yields the pages (restore writes them to a file as they come), Compact
// encodes them.
//
// Inputs are given oldest first. Neighbours have one page size and leave no TXID out; they may overlap (a snapshot 1-9,
// then 8-12). The result has min_txid, and pre-apply checksum of the first; max_txid, commit, timestamp and post-apply
// checksum of the last; neither WAL fields nor node id. A page beyond the last commit is dropped, even if it was the
// newest.
//
// As the Go library, it relies on writers to include every page of a range by which the database grew: a page that an
// input in between cut off, and a later one grew over without holding it, comes back with its old bytes. Where the last
// input tracks checksums and the result is a snapshot, the pages are summed up and such a thing is found.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "ltx/base/result.h"
#include "ltx/format/decoder.h"
#include "ltx/format/encoder.h"

namespace runnel::ltx {

// REQUIRES: Begin, then Next until it yields nullopt, then Finish. After an error it is dead: every call yields
// kInvalid. Errors of all: kCorrupt for an input that is damaged, or for inputs that do not fit together (a snapshot
// with a page that is in none of them; a pre-apply checksum that is not the post-apply checksum before it); the
// sources' own. Owned by one thread. What has been yielded may be used only when Finish has returned: inputs are
// verified at their ends.
class Merger {
 public:
  // The sources must outlive the merger; each is one file. REQUIRES: at least one.
  explicit Merger(std::span<ByteSource* const> inputs);
  ~Merger();

  // The header of the result. It tracks checksums if the last input does, and the first does or is a snapshot.
  // Errors also: kGap when a TXID is missing between neighbours, kInvalid for other page sizes or a wrong order.
  Result<Header> Begin();
  // The next page of the result, ascending; valid until the next call. nullopt after the last one.
  Result<std::optional<Page>> Next();
  // Verifies everything. The post-apply checksum of the result; 0 if not tracked.
  Result<Checksum> Finish();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

enum class ChecksumMode {
  kKeep,  // the result must track checksums: kInvalid if the inputs do not give them
  kDrop,  // the result does not: what Litestream writes and reads
};

struct Compacted {
  Header header;
  Trailer trailer;
  uint64_t bytes = 0;
};

// Errors: those of Merger, those of the sink, and kInvalid for a database of no pages with kDrop (it cannot be said).
// What was written to the sink before an error is no LTX file.
Result<Compacted> Compact(std::span<ByteSource* const> inputs, ByteSink& sink, ChecksumMode mode);

}  // namespace runnel::ltx
