// Object stores behind one small interface: a directory, an S3 bucket, a JetStream object bucket.
//
// The verbs are put (whole or streamed; always, only if absent, or only over a known version), get (a range), head,
// list and delete. Every store passes tests/conformance/object_store_conformance.h.
//
// Invariants a store keeps:
//   I1  An object is seen whole or not at all: a writer that was aborted, destroyed or killed leaves no object and does
//   not
//       touch the one that was there.
//   I2  Read your writes: after Commit or Delete has returned, every Get, Head and List, of any process, shows it.
//   I3  DURABLE: when Commit or Delete returns Ok, its effect is kept to the store's own standard (directory: fsynced
//   with its
//       name; S3: accepted by the service; NATS: acknowledged by the stream).
//   I4  Of several conditional writers of one key at most one is told that it won.
//   I5  Bytes handed out by one Get come from one version of the object. A get that is cut goes on where it stopped,
//   and only
//       if the version is still the same.
//
// Keys are relative names with '/' between their parts: 1 to 900 bytes, no empty, "." or ".." part, no zero byte
// (CheckKey). No key may be the folder of another one ("a" and "a/b"): a directory cannot hold both.
//
// Idempotence: a put without a condition and a delete may be repeated. A conditional put that ends in kUnavailable may
// have happened or not: ask Head, or compare what Get returns. While it lasts, the store repeats it safely by itself.
//
// Errors of all verbs: kUnavailable (the store is away or overloaded after all retries), kInvalid (credentials, bucket,
// region or key are wrong), kExhausted (full), kIo (directory), kCancelled (StoreOptions::stop). Every message names
// store and key and never a secret.
//
// THREAD: an ObjectStore any; an ObjectWriter one. LIFETIME: writers must not outlive their store.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ltx/base/bytes.h"
#include "ltx/base/result.h"
#include "ltx/base/time.h"

namespace runnel::store {

// What is known of an object without its bytes.
struct ObjectInfo {
  std::string key;
  uint64_t size = 0;
  // Names this content of this key, for WriteCondition::IfVersion; a put of other bytes changes it. Empty: not told by
  // a listing.
  std::string version;
  WallTime modified;  // by the store's clock
  // What the put was given: the one piece of metadata every store can carry (a directory: the file's modification
  // time). A listing may not tell (S3): Head does.
  std::optional<WallTime> timestamp;
};

// When a put may take effect. Not met: kConflict, and nothing has changed.
class WriteCondition {
 public:
  enum class Kind { kNone, kAbsent, kVersion };

  static WriteCondition None() { return WriteCondition(Kind::kNone, ""); }
  static WriteCondition IfAbsent() { return WriteCondition(Kind::kAbsent, ""); }
  // Only over exactly this version (ObjectInfo::version, or what Put returned); an absent object is not it.
  static WriteCondition IfVersion(std::string version) { return WriteCondition(Kind::kVersion, std::move(version)); }

  Kind kind() const { return kind_; }
  const std::string& version() const { return version_; }

 private:
  WriteCondition(Kind kind, std::string version) : kind_(kind), version_(std::move(version)) {}

  Kind kind_;
  std::string version_;
};

struct PutOptions {
  std::optional<WallTime> timestamp = std::nullopt;  // see ObjectInfo
  WriteCondition condition = WriteCondition::None();
};

// Which bytes of an object. What lies beyond its end is left out: a range past the end is empty, not an error.
class ByteRange {
 public:
  static constexpr uint64_t kToEnd = UINT64_MAX;

  static ByteRange All() { return ByteRange(0, kToEnd, false); }
  static ByteRange From(uint64_t offset, uint64_t size = kToEnd) { return ByteRange(offset, size, false); }
  static ByteRange Last(uint64_t size) { return ByteRange(0, size, true); }

  // As half-open [begin, end) of an object of this size.
  struct Span {
    uint64_t begin = 0;
    uint64_t end = 0;
    uint64_t size() const { return end - begin; }
  };
  Span Within(uint64_t object_size) const;

  uint64_t offset() const { return offset_; }
  uint64_t size() const { return size_; }
  bool from_end() const { return from_end_; }
  bool whole() const { return !from_end_ && offset_ == 0 && size_ == kToEnd; }

 private:
  ByteRange(uint64_t offset, uint64_t size, bool from_end) : offset_(offset), size_(size), from_end_(from_end) {}

  uint64_t offset_;
  uint64_t size_;
  bool from_end_;
};

// Takes the bytes of a Get in their order, in pieces of any size. An error of its own ends the Get with that error.
using ByteSink = std::function<Status(Bytes)>;

struct ListOptions {
  std::string prefix = "";       // of keys; need not end at a '/'
  std::string start_after = "";  // only keys that sort behind this one
  size_t count_max = 1000;       // 1 to 1000
};

struct ListPage {
  std::vector<ObjectInfo> objects;  // in ascending order of the bytes of their keys
  bool more = false;                // go on with start_after = the last key
};

// One object on its way in, of any length, in memory bounded by the store's part size. Destroyed without Commit:
// aborted.
class ObjectWriter {
 public:
  virtual ~ObjectWriter() = default;

  // After an error the writer is dead.
  virtual Status Write(Bytes bytes) = 0;

  // DURABLE: the object, under its key. Returns its version. Errors: kConflict (the condition). Once only.
  virtual Result<std::string> Commit() = 0;

  // Gives up; fine at any time. What was sent is removed as far as the store can be reached.
  virtual void Abort() = 0;
};

class ObjectStore {
 public:
  virtual ~ObjectStore() = default;

  // Where this is, for messages; no secrets.
  virtual const std::string& location() const = 0;

  virtual Result<std::unique_ptr<ObjectWriter>> StartPut(const std::string& key, const PutOptions& options) = 0;

  // Returns the object's description once all bytes of the range went to the sink. After an error the sink has a part.
  // Errors: kNotFound; kUnavailable also when the object was replaced meanwhile; kCorrupt when a store that keeps a
  // digest (NATS, whole objects) finds other bytes.
  virtual Result<ObjectInfo> Get(const std::string& key, const ByteRange& range, const ByteSink& sink) = 0;

  // Errors: kNotFound.
  virtual Result<ObjectInfo> Head(const std::string& key) = 0;

  // A store that is not there yet (no directory, no NATS bucket) lists as empty; an S3 bucket must exist.
  virtual Result<ListPage> List(const ListOptions& options) = 0;

  // Fine if it is not there.
  virtual Status Delete(const std::string& key) = 0;

  // The whole object from memory; returns its version.
  Result<std::string> Put(const std::string& key, Bytes bytes, const PutOptions& options = {});
  // kConflict when the key exists.
  Result<std::string> PutIfAbsent(const std::string& key, Bytes bytes,
                                  std::optional<WallTime> timestamp = std::nullopt);
  // The whole object into memory. Errors: also kExhausted when it is larger than size_max.
  Result<std::string> GetAll(const std::string& key, uint64_t size_max);
  // A part of it into a buffer, as pread does: returns how many bytes there were.
  Result<size_t> GetAt(const std::string& key, uint64_t offset, MutableBytes out);
  // Every object under the prefix, page by page, in order, until `each` returns an error (which is passed on).
  Status ListAll(const std::string& prefix, const std::function<Status(const ObjectInfo&)>& each);
};

// kInvalid unless the key keeps the rules above.
Status CheckKey(std::string_view key);

// The same store seen from below a folder: "" leaves it as it is. The prefix keeps the rules of keys.
std::unique_ptr<ObjectStore> WithPrefix(std::unique_ptr<ObjectStore> store, std::string prefix);

// The metadata text of a timestamp as Litestream writes it: RFC 3339 in UTC, the fraction without zeros at its end.
inline constexpr const char* kTimestampName = "litestream-timestamp";
std::string FormatTimestamp(WallTime time);
// nullopt: not such a text.
std::optional<WallTime> ParseTimestamp(std::string_view text);

}  // namespace runnel::store
