// libFuzzer entry for b-tree pages, cells, overflow chains and records. The input is an image: page size from its first
// byte, then pages; page 1 gets a right header, so that the fuzzer is not kept out of everything behind it. Every page
// is read as the root of a tree.
//
// Checked beyond "no crash": bounded work, and payloads as long as their cells say.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "ltx/base/check.h"
#include "ltx/sqlite/btree_cursor.h"
#include "ltx/sqlite/record.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace runnel;
  if (size < 513) return 0;
  uint32_t page_size = 512u << (data[0] % 3);
  std::string image(reinterpret_cast<const char*>(data) + 1, size - 1);
  image.resize(image.size() / page_size * page_size);
  if (image.empty() || image.size() > 64 * page_size) return 0;
  std::memcpy(image.data(), "SQLite format 3", 16);
  image[16] = static_cast<char>(page_size >> 8);
  image[17] = 0;
  image[20] = static_cast<char>(image[20] & 31);
  std::memcpy(image.data() + 21, "\x40\x20\x20", 3);
  sqlite::MemorySource source(AsBytes(image), page_size);
  Result<sqlite::Image> opened = sqlite::Image::Of(source);
  if (!opened.ok()) return 0;
  std::string buffer;
  std::vector<sqlite::Value> fields;
  for (uint32_t root = 1; root <= opened->page_count(); ++root) {
    sqlite::TreeCursor cursor(*opened, Pgno(root));
    while (true) {
      Result<bool> more = cursor.Next();
      if (!more.ok() || !*more) break;
      Result<Bytes> payload = sqlite::ReadPayload(*opened, cursor.at().pgno, cursor.at().cell, buffer);
      if (!payload.ok()) continue;
      CHECK(payload->size() == cursor.at().cell.payload_bytes, "a payload of another length");
      if (!sqlite::DecodeRecord(*payload, fields).ok()) continue;
      for (const sqlite::Value& value : fields) {
        if (value.type == sqlite::ValueType::kText) (void)sqlite::ToUtf8(value.bytes, sqlite::TextEncoding::kUtf16be);
      }
    }
    CHECK(cursor.pages_read() <= opened->page_count() + 1, "more pages read than there are");
  }
  return 0;
}
