#include "subscriber/archive/store/object_store.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "ltx/base/check.h"

namespace runnel::store {
namespace {

// S3 takes 1024 bytes with the prefix; a NATS subject of a name in base64 stays far below its limit.
constexpr size_t kKeyBytesMax = 900;

// Every key gets the folder in front, every listed key loses it.
class PrefixStore : public ObjectStore {
 public:
  PrefixStore(std::unique_ptr<ObjectStore> inner, std::string folder)
      : inner_(std::move(inner)), folder_(std::move(folder)), location_(inner_->location() + "/" + folder_) {
    folder_ += '/';
  }

  const std::string& location() const override { return location_; }

  Result<std::unique_ptr<ObjectWriter>> StartPut(const std::string& key, const PutOptions& options) override {
    TRY(CheckKey(key));
    return inner_->StartPut(folder_ + key, options);
  }
  Result<ObjectInfo> Get(const std::string& key, const ByteRange& range, const ByteSink& sink) override {
    TRY(CheckKey(key));
    return Stripped(inner_->Get(folder_ + key, range, sink));
  }
  Result<ObjectInfo> Head(const std::string& key) override {
    TRY(CheckKey(key));
    return Stripped(inner_->Head(folder_ + key));
  }
  Status Delete(const std::string& key) override {
    TRY(CheckKey(key));
    return inner_->Delete(folder_ + key);
  }
  Result<ListPage> List(const ListOptions& options) override {
    ListOptions inner = options;
    inner.prefix = folder_ + options.prefix;
    if (!options.start_after.empty()) inner.start_after = folder_ + options.start_after;
    TRY_ASSIGN(ListPage page, inner_->List(inner));
    for (ObjectInfo& object : page.objects) object.key.erase(0, folder_.size());
    return page;
  }

 private:
  Result<ObjectInfo> Stripped(Result<ObjectInfo> info) const {
    if (info.ok()) info->key.erase(0, folder_.size());
    return info;
  }

  const std::unique_ptr<ObjectStore> inner_;
  std::string folder_;
  const std::string location_;
};

}  // namespace

ByteRange::Span ByteRange::Within(uint64_t object_size) const {
  if (from_end_) return {object_size - std::min(size_, object_size), object_size};
  const uint64_t begin = std::min(offset_, object_size);
  return {begin, begin + std::min(size_, object_size - begin)};
}

Result<std::string> ObjectStore::Put(const std::string& key, Bytes bytes, const PutOptions& options) {
  TRY_ASSIGN(const std::unique_ptr<ObjectWriter> writer, StartPut(key, options));
  TRY(writer->Write(bytes));
  return writer->Commit();
}

Result<std::string> ObjectStore::PutIfAbsent(const std::string& key, Bytes bytes, std::optional<WallTime> timestamp) {
  return Put(key, bytes, PutOptions{.timestamp = timestamp, .condition = WriteCondition::IfAbsent()});
}

Result<std::string> ObjectStore::GetAll(const std::string& key, uint64_t size_max) {
  std::string content;
  TRY(Get(key, ByteRange::All(), [&](Bytes piece) -> Status {
    if (piece.size() > size_max - content.size()) {
      return Error(Errc::kExhausted, fmt::format("{}: {} is larger than {} bytes", location(), key, size_max));
    }
    content.append(AsText(piece));
    return Ok();
  }));
  return content;
}

Result<size_t> ObjectStore::GetAt(const std::string& key, uint64_t offset, MutableBytes out) {
  size_t filled = 0;
  if (out.empty()) return filled;
  TRY(Get(key, ByteRange::From(offset, out.size()), [&](Bytes piece) {
    CHECK(piece.size() <= out.size() - filled, "a store handed out more than the range");
    std::memcpy(out.data() + filled, piece.data(), piece.size());
    filled += piece.size();
    return Ok();
  }));
  return filled;
}

Status ObjectStore::ListAll(const std::string& prefix, const std::function<Status(const ObjectInfo&)>& each) {
  ListOptions options;
  options.prefix = prefix;
  while (true) {
    TRY_ASSIGN(const ListPage page, List(options));
    for (const ObjectInfo& object : page.objects) TRY(each(object));
    if (!page.more || page.objects.empty()) return Ok();
    options.start_after = page.objects.back().key;
  }
}

Status CheckKey(std::string_view key) {
  const auto wrong = [&](const char* why) {
    return Error(Errc::kInvalid, fmt::format("object key of {} bytes: {}", key.size(), why));
  };
  if (key.empty()) return wrong("it is empty");
  if (key.size() > kKeyBytesMax) return wrong("longer than 900 bytes");
  if (key.find('\0') != std::string_view::npos) return wrong("it holds a zero byte");
  for (size_t begin = 0; begin <= key.size();) {
    const size_t end = std::min(key.find('/', begin), key.size());
    const std::string_view part = key.substr(begin, end - begin);
    if (part.empty()) return wrong("it has an empty part (a '/' at its begin or end, or two in a row)");
    if (part == "." || part == "..") return wrong("\".\" and \"..\" cannot be parts of it");
    begin = end + 1;
  }
  return Ok();
}

std::unique_ptr<ObjectStore> WithPrefix(std::unique_ptr<ObjectStore> store, std::string prefix) {
  if (prefix.empty()) return store;
  return std::make_unique<PrefixStore>(std::move(store), std::move(prefix));
}

std::string FormatTimestamp(WallTime time) {
  std::string text = FormatRfc3339(time);  // always six decimals and a Z
  text.pop_back();
  while (text.ends_with('0')) text.pop_back();
  if (text.ends_with('.')) text.pop_back();
  return text + "Z";
}

std::optional<WallTime> ParseTimestamp(std::string_view text) {
  const Result<WallTime> time = ParseRfc3339(text);
  if (!time.ok()) return std::nullopt;
  return *time;
}

}  // namespace runnel::store
