// B-tree pages and their cells (SQLite file format, section 1.6), decoded in place.
//
// I1  No byte of a page is believed: every offset, length and page number is checked before it is used, and what is
//     wrong is an error that names the page. Any bytes whatsoever give an answer or an error, in bounded time and
//     memory.
// I2  Nothing is copied but payloads that overflow.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>

#include "ltx/base/bytes.h"
#include "ltx/base/result.h"
#include "ltx/format/types.h"
#include "ltx/sqlite/db_header.h"
#include "ltx/sqlite/page_source.h"
#include "ltx/sqlite/varint.h"

namespace runnel::sqlite {

// Deepest tree SQLite itself can read (BTCURSOR_MAX_DEPTH).
inline constexpr uint32_t kTreeDepthMax = 20;

// "page 7: what", as kCorrupt.
Error PageError(Pgno pgno, const std::string& what);

// How much of a payload lies in its cell; follows from the page size and the reserved bytes.
struct Layout {
  uint32_t page_size = 0;
  uint32_t usable = 0;
  uint32_t table_local_max = 0;
  uint32_t index_local_max = 0;
  uint32_t local_min = 0;

  static Layout Of(const DbHeader& header);
};

// One database image: its pages and how to read them. LIFETIME: the source.
class Image {
 public:
  // An image without pages is allowed: encoding and layout are then of no use. Errors: kCorrupt, the source's.
  static Result<Image> Of(const PageSource& source);

  const Layout& layout() const { return layout_; }
  TextEncoding encoding() const { return encoding_; }
  uint32_t page_count() const { return page_count_; }
  Result<Bytes> Page(Pgno pgno) const;

 private:
  explicit Image(const PageSource& source) : source_(&source), page_count_(source.page_count()) {}

  const PageSource* source_;
  uint32_t page_count_;
  Layout layout_;
  TextEncoding encoding_ = TextEncoding::kUtf8;
};

struct Cell {
  Pgno child;                  // interior pages
  int64_t rowid = 0;           // table trees
  uint64_t payload_bytes = 0;  // all of it, overflow included; 0 in interior pages of table trees
  Bytes local;                 // the part in the page
  Pgno overflow;               // first page of the rest, 0: none
};

// LIFETIME: the layout and the page's bytes.
class BtreePage {
 public:
  BtreePage() = default;
  // Errors: kCorrupt (not a b-tree page).
  static Result<BtreePage> Parse(const Layout& layout, Pgno pgno, Bytes page);
  static Result<BtreePage> Read(const Image& image, Pgno pgno);

  Pgno pgno() const { return pgno_; }
  bool leaf() const { return leaf_; }
  bool table() const { return table_; }                  // else index: secondary, or a WITHOUT ROWID table
  bool has_payload() const { return leaf_ || !table_; }  // interior pages of table trees hold keys only
  uint32_t cell_count() const { return cell_count_; }

  // REQUIRES: !leaf(), index <= cell_count(); the last one is the right-most child. The number may be any.
  Result<Pgno> Child(uint32_t index) const;
  // REQUIRES: index < cell_count(). The hot path of everything that reads whole pages: usual cells are decoded here.
  Status ReadCell(uint32_t index, Cell& cell) const {
    return TakeUsualCell(index, cell) ? Ok() : ReadAnyCell(index, cell);
  }
  // Cell pointers of this leaf and the other one name the same places. REQUIRES: both are leaves.
  bool SamePointers(const BtreePage& other) const {
    return cell_count_ == other.cell_count_ && pointers_ == other.pointers_ &&
           std::memcmp(data_ + pointers_, other.data_ + pointers_, size_t{2} * cell_count_) == 0;
  }
  // Where a cell that could be read begins. REQUIRES: index < cell_count().
  uint32_t CellStart(uint32_t index) const { return LoadBe16(data_ + pointers_ + 2 * index); }
  // Behind the cell, or up to eight bytes further; 0: not a cell as most are, which says nothing. REQUIRES: a leaf of a
  // table, the cell could be read.
  uint32_t UsualCellEnd(uint32_t index) const;
  Bytes bytes() const { return {data_, layout_->page_size}; }

 private:
  bool TakeUsualCell(uint32_t index, Cell& cell) const;
  Status ReadAnyCell(uint32_t index, Cell& cell) const;
  Result<uint32_t> CellOffset(uint32_t index) const;
  Status ReadPayloadHead(Bytes rest, Cell& cell) const;

  const Layout* layout_ = nullptr;
  const std::byte* data_ = nullptr;
  Pgno pgno_;
  uint32_t pointers_ = 0;  // offset of the cell pointer array
  uint32_t cell_count_ = 0;
  bool leaf_ = false;
  bool table_ = false;
};

// A cell whose head ends before the usable bytes do, with a payload below 16 KiB that lies in the page; false says
// nothing.
inline bool BtreePage::TakeUsualCell(uint32_t index, Cell& cell) const {
  constexpr uint32_t kHeadBytesMax = 4 + 2 + 9;  // child or payload size, rowid
  const uint32_t offset = CellStart(index);
  const uint32_t usable = layout_->usable;
  if (offset < pointers_ + 2 * cell_count_ || offset + kHeadBytesMax > usable) return false;
  const std::byte* p = data_ + offset;
  if (!leaf_) {
    if (!table_) return false;
    cell = Cell();
    cell.child = Pgno(LoadBe32(p));
    p += 4;
    cell.rowid = static_cast<int64_t>(TakeVarint9(p));
    return true;
  }
  uint32_t size = std::to_integer<uint32_t>(*p++);
  if (size >= 0x80) {
    const uint32_t low = std::to_integer<uint32_t>(*p++);
    if (low >= 0x80) return false;
    size = (size & 0x7f) << 7 | low;
  }
  const int64_t rowid = table_ ? static_cast<int64_t>(TakeVarint9(p)) : 0;
  if (size > (table_ ? layout_->table_local_max : layout_->index_local_max)) return false;
  if (static_cast<size_t>(p - data_) + size > usable) return false;
  cell.child = Pgno();
  cell.rowid = rowid;
  cell.payload_bytes = size;
  cell.local = Bytes(p, size);
  cell.overflow = Pgno();
  return true;
}

inline uint32_t BtreePage::UsualCellEnd(uint32_t index) const {
  constexpr uint32_t kRowidBytesMax = 9;
  const uint32_t start = CellStart(index);
  const uint32_t high = std::to_integer<uint32_t>(data_[start]);
  if (high < 0x80) return start + 1 + kRowidBytesMax + high;
  const uint32_t low = std::to_integer<uint32_t>(data_[start + 1]);
  const uint32_t size = (high & 0x7f) << 7 | low;
  return low < 0x80 && size <= layout_->table_local_max ? start + 2 + kRowidBytesMax + size : 0;
}

// Number of overflow pages a cell's payload needs.
uint64_t OverflowPages(const Layout& layout, const Cell& cell);

// The whole payload of a cell of page `pgno`: in the page, or put together in `buffer`. Errors: kCorrupt.
Result<Bytes> ReadPayload(const Image& image, Pgno pgno, const Cell& cell, std::string& buffer);

}  // namespace runnel::sqlite
