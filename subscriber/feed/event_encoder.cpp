#include "subscriber/feed/event_encoder.h"

#include <algorithm>
#include <cctype>

#include "subscriber/feed/connect_encoder.h"
#include "subscriber/feed/debezium_encoder.h"
#include "subscriber/feed/json_text.h"
#include "subscriber/feed/proto_encoder.h"
#include "subscriber/feed/text.h"

namespace runnel::feed {
namespace {

bool IsTopicChar(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

bool IsHex(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); }

bool LooksEscaped(std::string_view text) {
  return text.size() >= 4 && text[0] == '_' && text[1] == 'x' && IsHex(text[2]) && IsHex(text[3]);
}

void AppendPart(std::string& out, std::string_view name) {
  constexpr char kDigits[] = "0123456789abcdef";
  for (size_t i = 0; i < name.size(); ++i) {
    if (IsTopicChar(name[i]) && !LooksEscaped(name.substr(i))) {
      out += name[i];
      continue;
    }
    unsigned char byte = static_cast<unsigned char>(name[i]);
    out += {'_', 'x', kDigits[byte >> 4], kDigits[byte & 15]};
  }
}

uint32_t Unit(Bytes text, size_t i, sqlite::TextEncoding encoding) {
  size_t low = encoding == sqlite::TextEncoding::kUtf16le ? 0 : 1;
  return std::to_integer<uint32_t>(text[i + low]) | std::to_integer<uint32_t>(text[i + 1 - low]) << 8;
}

bool IsUtf16(Bytes text, sqlite::TextEncoding encoding) {
  if (text.size() % 2 != 0) return false;
  for (size_t i = 0; i < text.size(); i += 2) {
    uint32_t unit = Unit(text, i, encoding);
    if (unit < 0xd800 || unit > 0xdfff) continue;
    if (unit > 0xdbff || i + 4 > text.size()) return false;
    uint32_t next = Unit(text, i + 2, encoding);
    if (next < 0xdc00 || next > 0xdfff) return false;
    i += 2;
  }
  return true;
}

}  // namespace

std::unique_ptr<EventEncoder> MakeEncoder(const EncoderOptions& options) {
  if (options.format == EventFormat::kProtobuf) return std::make_unique<ProtoEncoder>(options);
  if (options.schemas) return std::make_unique<ConnectEncoder>(options);
  return std::make_unique<DebeziumEncoder>(options);
}

std::string TopicOf(std::string_view database, std::string_view table) {
  std::string topic;
  AppendPart(topic, database);
  topic += '.';
  AppendPart(topic, table);
  return topic;
}

std::string NameText(std::string_view name) {
  if (IsUtf8(name)) return std::string(name);
  std::string text;
  for (size_t i = 0; i < name.size();) {
    size_t length = 4;
    while (length > 0 && (i + length > name.size() || !IsUtf8(name.substr(i, length)))) --length;
    text += length == 0 ? std::string_view("\xEF\xBF\xBD") : name.substr(i, length);
    i += std::max<size_t>(length, 1);
  }
  return text;
}

std::vector<int> KeyColumns(const TableDef& table) {
  std::vector<int> key = table.primary_key;
  if (table.without_rowid) key.assign(table.stored.begin(), table.stored.begin() + table.key_fields);
  // A WITHOUT ROWID table may name a column twice in its key, under two collations.
  std::vector<int> once;
  for (int column : key) {
    if (std::find(once.begin(), once.end(), column) == once.end()) once.push_back(column);
  }
  return once;
}

bool IsBlobColumn(const ColumnDef& column) { return Lower(column.type).find("blob") != std::string::npos; }

bool IsValidText(Bytes text, sqlite::TextEncoding encoding) {
  return encoding == sqlite::TextEncoding::kUtf8 ? IsUtf8(AsText(text)) : IsUtf16(text, encoding);
}

Bytes CutText(Bytes text, sqlite::TextEncoding encoding, uint64_t bytes_max) {
  size_t size = std::min<uint64_t>(text.size(), bytes_max);
  if (encoding == sqlite::TextEncoding::kUtf8) {
    while (size > 0 && size < text.size() && (std::to_integer<uint8_t>(text[size]) & 0xc0) == 0x80) --size;
  } else {
    size &= ~size_t{1};
    if (size >= 2 && (Unit(text, size - 2, encoding) & 0xfc00) == 0xd800) size -= 2;
  }
  return text.first(size);
}

}  // namespace runnel::feed
