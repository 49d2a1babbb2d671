// One LTX file as a value, for tests: say what it holds, get its bytes; or look at what bytes hold.
//
//   LtxSpec spec = Commit(4096, 7, {{1, Page(4096, 'a')}, {3, Page(4096, 'b')}});   // TXID 7 of a database of 3 pages
//   std::string bytes = ToBytes(spec);
//   Result<LtxSpec> back = FromBytes(bytes);
//
// Image is the model the codecs are compared with: a database as a plain list of pages.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "ltx/base/result.h"
#include "ltx/format/header.h"

namespace runnel::testing {

struct LtxSpec {
  ltx::Header header;
  std::map<uint32_t, std::string> pages;  // by page number
  ltx::Trailer trailer;                   // ToBytes: only post_apply_checksum is used, and only if tracked

  bool operator==(const LtxSpec&) const = default;
};

// A page of one byte repeated.
std::string Page(uint32_t page_size, char fill);

// A file of TXIDs min..max; without checksums; commit is the highest page. Change what must differ.
LtxSpec Range(uint32_t page_size, uint64_t min_txid, uint64_t max_txid, std::map<uint32_t, std::string> pages);
inline LtxSpec Commit(uint32_t page_size, uint64_t txid, std::map<uint32_t, std::string> pages) {
  return Range(page_size, txid, txid, std::move(pages));
}

// The encoder's bytes. The test fails if it refuses.
std::string ToBytes(const LtxSpec& spec);
// Decodes completely.
Result<LtxSpec> FromBytes(std::string_view bytes);

// A database: pages[0] is page 1. The lock page is an empty string.
struct Image {
  uint32_t page_size = 0;
  std::vector<std::string> pages;

  Checksum Sum() const;
  // Pages of `spec` replace ours, and the size becomes its commit.
  void Apply(const LtxSpec& spec);
  // The file that leads from this image to the one with `changes` and `commit` pages, checksums tracked.
  LtxSpec Change(uint64_t txid, std::map<uint32_t, std::string> changes, uint32_t commit) const;

  bool operator==(const Image&) const = default;
};

}  // namespace runnel::testing
