#include "ltx/sqlite/db_header.h"

#include <cstring>

namespace runnel::sqlite {
namespace {

constexpr uint32_t kUsableMin = 480;  // SQLite refuses less

Error Refuse(const std::string& what) { return Error(Errc::kCorrupt, "page 1: " + what); }

}  // namespace

Result<DbHeader> ParseDbHeader(Bytes page1) {
  if (page1.size() < kDbHeaderBytes) return Refuse("shorter than a database header");
  const std::byte* p = page1.data();
  if (std::memcmp(p, "SQLite format 3", 16) != 0) return Refuse("not a database header");
  DbHeader header;
  uint32_t size = LoadBe16(p + 16) == 1 ? 65536u : LoadBe16(p + 16);
  if (!PageSize::IsValid(size)) return Refuse("page size " + std::to_string(size));
  header.page_size = PageSize(size);
  header.reserved_bytes = std::to_integer<uint32_t>(p[20]);
  if (size - header.reserved_bytes < kUsableMin) {
    return Refuse(std::to_string(header.reserved_bytes) + " reserved bytes leave too little of a page");
  }
  if (p[21] != std::byte{64} || p[22] != std::byte{32} || p[23] != std::byte{32}) return Refuse("payload fractions");
  header.page_count = LoadBe32(p + 28);
  header.schema_cookie = LoadBe32(p + 40);
  if (LoadBe32(p + 44) > 4) return Refuse("schema format " + std::to_string(LoadBe32(p + 44)));
  header.auto_vacuum = LoadBe32(p + 52) != 0;
  uint32_t encoding = LoadBe32(p + 56);
  if (encoding > 3) return Refuse("text encoding " + std::to_string(encoding));
  if (encoding != 0) header.encoding = static_cast<TextEncoding>(encoding);
  header.incremental_vacuum = LoadBe32(p + 64) != 0;
  return header;
}

}  // namespace runnel::sqlite
