#include "ltx/sqlite/btree.h"

#include <algorithm>

#include "ltx/sqlite/varint.h"

namespace runnel::sqlite {
namespace {

// Page types, fixed on disk.
constexpr uint8_t kIndexInterior = 2;
constexpr uint8_t kTableInterior = 5;
constexpr uint8_t kIndexLeaf = 10;
constexpr uint8_t kTableLeaf = 13;

constexpr uint64_t kPayloadMax = 0x7fffffff;  // SQLITE_MAX_LENGTH can be no more
constexpr uint32_t kCellBytesMin = 4;

}  // namespace

Error PageError(Pgno pgno, const std::string& what) {
  return Error(Errc::kCorrupt, "page " + std::to_string(pgno.raw()) + ": " + what);
}

Layout Layout::Of(const DbHeader& header) {
  Layout layout;
  layout.page_size = header.page_size.raw();
  layout.usable = layout.page_size - header.reserved_bytes;
  layout.table_local_max = layout.usable - 35;
  layout.index_local_max = (layout.usable - 12) * 64 / 255 - 23;
  layout.local_min = (layout.usable - 12) * 32 / 255 - 23;
  return layout;
}

Result<Image> Image::Of(const PageSource& source) {
  Image image(source);
  if (image.page_count_ == 0) return image;
  TRY_ASSIGN(Bytes page1, source.Page(Pgno(1)));
  TRY_ASSIGN(DbHeader header, ParseDbHeader(page1));
  image.layout_ = Layout::Of(header);
  image.encoding_ = header.encoding;
  return image;
}

Result<Bytes> Image::Page(Pgno pgno) const {
  if (pgno.raw() == 0 || pgno.raw() > page_count_) return PageError(pgno, "page number out of range");
  TRY_ASSIGN(Bytes page, source_->Page(pgno));
  if (page.size() != layout_.page_size) return PageError(pgno, "not of the page size");
  return page;
}

Result<BtreePage> BtreePage::Parse(const Layout& layout, Pgno pgno, Bytes page) {
  uint32_t header = pgno.raw() == 1 ? static_cast<uint32_t>(kDbHeaderBytes) : 0;
  if (page.size() != layout.page_size) return PageError(pgno, "not of the page size");
  BtreePage out;
  out.layout_ = &layout;
  out.data_ = page.data();
  out.pgno_ = pgno;
  uint8_t type = std::to_integer<uint8_t>(page[header]);
  if (type != kTableLeaf && type != kTableInterior && type != kIndexLeaf && type != kIndexInterior) {
    return PageError(pgno, "not a b-tree page");
  }
  out.leaf_ = type == kTableLeaf || type == kIndexLeaf;
  out.table_ = type == kTableLeaf || type == kTableInterior;
  out.cell_count_ = LoadBe16(page.data() + header + 3);
  out.pointers_ = header + (out.leaf_ ? 8 : 12);
  if (out.pointers_ + 2 * out.cell_count_ > layout.usable) return PageError(pgno, "cell pointers run past the page");
  return out;
}

Result<BtreePage> BtreePage::Read(const Image& image, Pgno pgno) {
  TRY_ASSIGN(Bytes page, image.Page(pgno));
  return Parse(image.layout(), pgno, page);
}

Result<uint32_t> BtreePage::CellOffset(uint32_t index) const {
  uint32_t offset = CellStart(index);
  if (offset < pointers_ + 2 * cell_count_ || offset + kCellBytesMin > layout_->usable) {
    return PageError(pgno_, "cell " + std::to_string(index) + " lies outside the page");
  }
  return offset;
}

Result<Pgno> BtreePage::Child(uint32_t index) const {
  if (index == cell_count_) return Pgno(LoadBe32(data_ + pointers_ - 4));
  TRY_ASSIGN(uint32_t offset, CellOffset(index));
  return Pgno(LoadBe32(data_ + offset));
}

Status BtreePage::ReadAnyCell(uint32_t index, Cell& cell) const {
  TRY_ASSIGN(uint32_t offset, CellOffset(index));
  Bytes rest(data_ + offset, layout_->usable - offset);
  cell = Cell();
  if (!leaf_) {
    cell.child = Pgno(LoadBe32(rest.data()));
    rest = rest.subspan(4);
  }
  if (table_ && !leaf_) {
    Varint rowid = ReadVarint(rest);
    if (rowid.bytes == 0) return PageError(pgno_, "cell " + std::to_string(index) + " runs past the page");
    cell.rowid = static_cast<int64_t>(rowid.value);
    return Ok();
  }
  return ReadPayloadHead(rest, cell);
}

Status BtreePage::ReadPayloadHead(Bytes rest, Cell& cell) const {
  Varint size = ReadVarint(rest);
  if (size.bytes == 0) return PageError(pgno_, "a cell runs past the page");
  if (size.value > kPayloadMax) return PageError(pgno_, "a payload of " + std::to_string(size.value) + " bytes");
  cell.payload_bytes = size.value;
  rest = rest.subspan(size.bytes);
  if (table_) {
    Varint rowid = ReadVarint(rest);
    if (rowid.bytes == 0) return PageError(pgno_, "a cell runs past the page");
    cell.rowid = static_cast<int64_t>(rowid.value);
    rest = rest.subspan(rowid.bytes);
  }
  uint64_t local_max = table_ ? layout_->table_local_max : layout_->index_local_max;
  uint64_t local = cell.payload_bytes;
  if (local > local_max) {
    uint64_t surplus = layout_->local_min + (cell.payload_bytes - layout_->local_min) % (layout_->usable - 4);
    local = surplus <= local_max ? surplus : layout_->local_min;
  }
  bool overflows = local < cell.payload_bytes;
  if (local + (overflows ? 4 : 0) > rest.size()) return PageError(pgno_, "a cell runs past the page");
  cell.local = rest.first(local);
  if (!overflows) return Ok();
  cell.overflow = Pgno(LoadBe32(rest.data() + local));
  if (cell.overflow.raw() == 0) return PageError(pgno_, "a payload without its overflow pages");
  return Ok();
}

uint64_t OverflowPages(const Layout& layout, const Cell& cell) {
  uint64_t per_page = layout.usable - 4;
  return (cell.payload_bytes - cell.local.size() + per_page - 1) / per_page;
}

Result<Bytes> ReadPayload(const Image& image, Pgno pgno, const Cell& cell, std::string& buffer) {
  if (cell.overflow.raw() == 0) return cell.local;
  // Checked before the memory is taken: a damaged length must not cost 2 GiB.
  if (OverflowPages(image.layout(), cell) > image.page_count())
    return PageError(pgno, "a payload larger than the database");
  buffer.clear();
  buffer.reserve(cell.payload_bytes);
  buffer.append(AsText(cell.local));
  Pgno next = cell.overflow;
  while (buffer.size() < cell.payload_bytes) {
    TRY_ASSIGN(Bytes page, image.Page(next));
    size_t take = std::min<uint64_t>(image.layout().usable - 4, cell.payload_bytes - buffer.size());
    buffer.append(AsText(page.subspan(4, take)));
    next = Pgno(LoadBe32(page.data()));
  }
  if (next.raw() != 0) return PageError(pgno, "an overflow chain that is too long");
  return AsBytes(buffer);
}

}  // namespace runnel::sqlite
