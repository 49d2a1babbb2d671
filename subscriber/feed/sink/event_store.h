// The newest events of a feed on disk, for consumers that come back: one writer appends, any number of readers follow,
// each at its own pace. What is older than `keep_bytes` goes, whole segments at a time.
//
//   DIR/lock            held by the feed that writes here
//   DIR/events-NUMBER   segments, 16 hex digits; the last one grows. All numbers big-endian:
//
//   offset  bytes  head of a segment (56 bytes)
//        0      8  "RNLEVNT1"
//        8     16  lineage
//       24      1  token before the first event: 0 none was ever kept, 1 of a commit, 2 of a snapshot
//       25      7  zero
//       32      8  its TXID
//       40      8  its ordinal
//       48      8  CRC-64 of the 48 bytes before
//
//   offset  bytes  an event (32 bytes and its text)
//        0      8  CRC-64 of all that follows
//        8      4  bytes of the text
//       12      1  token: 1 of a commit, 2 of a snapshot
//       13      1  1: nothing of its commit or snapshot follows
//       14      2  zero
//       16      8  its TXID
//       24      8  its ordinal
//       32      n  text
//
// I1  Readers see what was flushed, in order, without a hole: an event they cannot have any more is an error, kGap.
// I2  A process killed at any instruction leaves a prefix of what was appended that holds all that was flushed. After a
//     power loss it may end earlier; kept() says where.
// I3  The writer waits for slow readers at most `slow_reader_wait` for each segment it removes.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "ltx/base/fs.h"
#include "ltx/base/result.h"
#include "ltx/base/sync.h"
#include "ltx/base/time.h"
#include "subscriber/feed/token.h"

namespace runnel::feed {

struct EventStoreOptions {
  std::string dir;
  uint64_t keep_bytes = 256 << 20;
  std::chrono::milliseconds slow_reader_wait{2000};
};

// What a store holds.
struct KeptEvents {
  std::optional<Token> before;  // of the event before the oldest one, if there ever was one
  std::optional<Token> oldest;  // nullopt: nothing is kept
  std::optional<Token> newest;
  bool newest_ends = false;  // nothing of its commit follows
};

// Where a reader wants to begin.
struct AtOldest {};                                          // with the oldest whole commit or snapshot that is kept
struct AtNewest {};                                          // with the next commit that begins
using EventStart = std::variant<AtOldest, AtNewest, Token>;  // Token: behind it

// Whether everything behind `asked` is kept. Errors: kGap, kRefused (another lineage). A token ahead of all that is
// kept is fine: it will come again under the same name. With nothing kept nobody can tell yet.
Status CanReadBehind(const KeptEvents& kept, const Token& asked);

class EventReader;

class EventStore {
 public:
  // Errors: kConflict (another feed writes here), kCorrupt, kIo.
  static Result<std::unique_ptr<EventStore>> Open(EventStoreOptions options);
  ~EventStore();

  // Of the writer's thread. What is appended waits in memory until Flush.
  // Errors: kInvalid (larger than an event can be).
  Status Append(const Token& token, std::string_view text, bool ends);
  // On return readers have it, and it outlives the process. Errors: kExhausted, kIo: kept() says how far it came;
  // Discard.
  Status Flush(std::stop_token stop);
  // Forgets what was appended and not flushed.
  void Discard();
  uint64_t waiting_bytes() const { return pending_.size(); }

  // THREAD: any.
  KeptEvents kept() const;
  // Errors: those of CanReadBehind. LIFETIME: the store.
  Result<std::unique_ptr<EventReader>> Read(const EventStart& start);

 private:
  friend class EventReader;
  struct Segment {
    uint64_t number = 0;
    uint64_t bytes = 0;  // that readers may read
    LineageId lineage{};
    std::optional<Token> before;
    std::optional<Token> first;
  };

  EventStore(EventStoreOptions options, FileLock lock) : options_(std::move(options)), lock_(std::move(lock)) {}
  std::string PathOf(uint64_t number) const;
  KeptEvents KeptNow() const REQUIRES_LOCK(mutex_);
  Status Load();
  Result<Segment> LoadHead(const File& file, uint64_t number) const;
  struct Tail {
    std::optional<Token> newest;
    bool ends = false;
  };
  Result<Tail> LoadEvents(File& file, Segment& segment);
  Result<size_t> FlushSome(Bytes events);
  Status StartSegment();
  Status RemoveOldest(std::stop_token stop);

  // Of readers, in their threads.
  Status Place(EventReader& reader) REQUIRES_LOCK(mutex_);
  void Move(EventReader& reader, uint64_t number) REQUIRES_LOCK(mutex_);
  void Leave(const EventReader& reader);
  // How far the reader's segment may be read: it holds more than was shown.
  Result<uint64_t> WaitForMore(EventReader& reader, SteadyTime deadline, std::stop_token stop);

  const EventStoreOptions options_;
  const FileLock lock_;

  // Of the writer.
  std::optional<File> file_;  // the last segment
  std::string pending_;
  LineageId lineage_{};  // of what waits: one feed has one

  mutable Mutex mutex_;
  CondVar changed_;  // more to read
  CondVar readers_moved_;
  std::deque<Segment> segments_ GUARDED_BY(mutex_);
  std::optional<Token> newest_ GUARDED_BY(mutex_);
  bool newest_ends_ GUARDED_BY(mutex_) = false;
  std::multiset<uint64_t> reading_ GUARDED_BY(mutex_);  // segments that readers are in
};

// THREAD: one. LIFETIME: the store.
class EventReader {
 public:
  ~EventReader();
  EventReader(const EventReader&) = delete;
  EventReader& operator=(const EventReader&) = delete;

  // LIFETIME of the text: the call.
  using Visitor = std::function<void(const Token& token, std::string_view text)>;
  // Shows the next few events (about 256 KiB; it may be none although more follow). Errors: kTimeout (there are no more
  // before the deadline), kGap (what comes next is no longer kept), kRefused (another lineage), kCorrupt, kIo,
  // kCancelled.
  Status Next(SteadyTime deadline, std::stop_token stop, const Visitor& visit);

 private:
  friend class EventStore;
  EventReader(EventStore& store, EventStart start) : store_(store), start_(std::move(start)) {}
  Status Show(uint64_t end, const Visitor& visit);
  bool Wanted(const Token& token);

  EventStore& store_;
  EventStart start_;
  bool begun_ = false;
  uint64_t number_ = 0;  // of the segment it is in
  uint64_t offset_ = 0;
  LineageId lineage_{};
  std::optional<File> file_;
  std::optional<Token> skip_;  // events up to here are not wanted
  bool whole_only_ = false;    // nothing before the next commit or snapshot begins
  std::vector<std::byte> buffer_;
};

}  // namespace runnel::feed
