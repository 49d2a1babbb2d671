#include "subscriber/feed/sink/event_store.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include <fmt/format.h>

#include "ltx/base/bytes.h"
#include "ltx/base/log.h"
#include "subscriber/feed/sink/event_format.h"

namespace runnel::feed {
namespace {

constexpr std::string_view kPrefix = "events-";
// So many segments hold what is kept: what goes at once is a small part of it.
constexpr uint64_t kSegmentsKept = 8;
constexpr size_t kReadBytes = 256 << 10;
// A text of one value of SQLite's largest size in base64, twice, and what stands around it.
constexpr uint64_t kTextBytesMax = uint64_t{3} << 30;
// A buffer that one large event has grown is given back.
constexpr size_t kPendingKept = 8 << 20;

}  // namespace

Status CanReadBehind(const KeptEvents& kept, const Token& asked) {
  if (!kept.oldest) return Ok();
  if (kept.oldest->lineage != asked.lineage) {
    return Error(Errc::kRefused, "the token is of lineage " + ToString(asked.lineage) + ", the feed tells lineage " +
                                     ToString(kept.oldest->lineage));
  }
  const Token& reach = kept.before ? *kept.before : *kept.oldest;
  if (asked >= reach) return Ok();
  return Error(Errc::kGap,
               "events behind " + ToString(asked) + " are no longer kept; the oldest is " + ToString(*kept.oldest));
}

Result<std::unique_ptr<EventStore>> EventStore::Open(EventStoreOptions options) {
  TRY(CreateDirs(options.dir));
  TRY_ASSIGN(FileLock lock, FileLock::Acquire(options.dir + "/lock"));
  std::unique_ptr<EventStore> store(new EventStore(std::move(options), std::move(lock)));
  TRY(store->Load());
  return store;
}

EventStore::~EventStore() = default;

std::string EventStore::PathOf(uint64_t number) const {
  return fmt::format("{}/{}{:016x}", options_.dir, kPrefix, number);
}

Status EventStore::Load() {
  TRY_ASSIGN(std::vector<std::string> names, ListDir(options_.dir));
  std::deque<Segment> segments;
  for (const std::string& name : names) {
    if (!name.starts_with(kPrefix)) continue;
    uint64_t number = 0;
    auto [end, err] = std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), number, 16);
    if (err != std::errc() || end != name.data() + name.size()) continue;
    TRY_ASSIGN(File file, File::OpenReadWrite(PathOf(number)));
    Result<Segment> segment = LoadHead(file, number);
    if (!segment.ok() && segment.code() != Errc::kCorrupt) return segment.error();
    if (!segment.ok()) {
      // Killed while it was made, or damaged; what comes behind it cannot be joined to what is before.
      Log(Level::kWarn, "feed_events_dropped", {{"err", segment.error().message()}});
      TRY(RemoveFile(PathOf(number)));
      continue;
    }
    if (!segments.empty() && segments.back().number + 1 != number) {
      for (const Segment& old : segments) TRY(RemoveFile(PathOf(old.number)));
      segments.clear();
    }
    segments.push_back(std::move(*segment));
    file_ = std::move(file);
  }
  if (segments.empty()) return Ok();
  TRY_ASSIGN(const Tail tail, LoadEvents(*file_, segments.back()));
  MutexLock lock(mutex_);
  newest_ = tail.newest ? tail.newest : segments.back().before;
  newest_ends_ = tail.ends;
  segments_ = std::move(segments);
  return Ok();
}

Result<EventStore::Segment> EventStore::LoadHead(const File& file, uint64_t number) const {
  std::vector<std::byte> bytes(kSegmentHeadBytes + kEventHeadBytes);
  TRY_ASSIGN(size_t size, file.ReadAt(0, bytes));
  const Bytes head = Bytes(bytes).first(kSegmentHeadBytes);
  if (size < kSegmentHeadBytes || AsText(head.first(8)) != kSegmentMagic ||
      LoadBe64(&head[48]) != CrcOf(head.first(48))) {
    return Error(Errc::kCorrupt, file.path() + ": no segment of events");
  }
  Segment segment;
  segment.number = number;
  ByteReader reader(head.subspan(8));
  const Bytes lineage = reader.Raw(segment.lineage.size());
  std::transform(lineage.begin(), lineage.end(), segment.lineage.begin(),
                 [](std::byte b) { return std::to_integer<uint8_t>(b); });
  const uint8_t kind = reader.U8();
  reader.Raw(7);
  const uint64_t txid = reader.Be64();
  segment.before = TokenFrom(segment.lineage, kind, txid, reader.Be64());
  if (size == bytes.size())
    segment.first = ReadEventHead(Bytes(bytes).subspan(kSegmentHeadBytes), segment.lineage).token;
  TRY_ASSIGN(segment.bytes, file.Size());
  return segment;
}

// The last segment may end in what a killed writer left half done.
Result<EventStore::Tail> EventStore::LoadEvents(File& file, Segment& segment) {
  Tail tail;
  const uint64_t size = segment.bytes;
  uint64_t at = kSegmentHeadBytes;
  std::vector<std::byte> bytes(kReadBytes);
  uint64_t from = 0;  // what `bytes` holds
  uint64_t filled = 0;
  segment.first.reset();
  while (at + kEventHeadBytes <= size) {
    if (at < from || at + kEventHeadBytes > from + filled) {
      TRY_ASSIGN(filled, file.ReadAt(from = at, bytes));
      if (filled < kEventHeadBytes) break;
    }
    EventHead head = ReadEventHead(Bytes(bytes).subspan(at - from), segment.lineage);
    const uint64_t whole = head.EventBytes();
    if (at + whole > size) break;
    if (at + whole > from + filled) {
      bytes.resize(std::max<uint64_t>(bytes.size(), whole));
      TRY_ASSIGN(filled, file.ReadAt(from = at, bytes));
      if (filled < whole) break;
    }
    if (!IsWholeEvent(head, Bytes(bytes).subspan(at - from, whole))) break;
    if (!segment.first) segment.first = head.token;
    tail = {head.token, head.ends};
    at += whole;
  }
  segment.bytes = at;
  if (at != size) TRY(file.Truncate(at));
  return tail;
}

KeptEvents EventStore::kept() const {
  MutexLock lock(mutex_);
  return KeptNow();
}

KeptEvents EventStore::KeptNow() const {
  KeptEvents kept;
  for (const Segment& segment : segments_) {
    if (!segment.first) continue;
    kept.oldest = segment.first;
    kept.before = segment.before;
    break;
  }
  kept.newest = newest_;
  kept.newest_ends = newest_ends_;
  return kept;
}

Status EventStore::Append(const Token& token, std::string_view text, bool ends) {
  if (text.size() > kTextBytesMax) {
    return Error(Errc::kInvalid, "event " + ToString(token) + " has " + std::to_string(text.size()) +
                                     " bytes: cut long values with --max-value");
  }
  const size_t start = pending_.size();
  pending_.append(8, '\0');
  AppendBe32(pending_, static_cast<uint32_t>(text.size()));
  pending_ += static_cast<char>(KindOf(token));
  pending_ += ends ? '\1' : '\0';
  pending_.append(2, '\0');
  AppendBe64(pending_, token.txid.raw());
  AppendBe64(pending_, token.ordinal);
  pending_ += text;
  StoreBe64(reinterpret_cast<std::byte*>(pending_.data()) + start, CrcOf(AsBytes(pending_).subspan(start + 8)));
  lineage_ = token.lineage;
  return Ok();
}

void EventStore::Discard() {
  pending_.clear();
  if (pending_.capacity() > kPendingKept) pending_.shrink_to_fit();
}

Status EventStore::Flush(std::stop_token stop) {
  Bytes rest = AsBytes(pending_);
  while (!rest.empty()) {
    TRY_ASSIGN(const size_t written, FlushSome(rest));
    rest = rest.subspan(written);
    TRY(RemoveOldest(stop));
  }
  Discard();
  return Ok();
}

// As many of these events as the last segment takes, at least one. Returns their bytes.
Result<size_t> EventStore::FlushSome(Bytes events) {
  const uint64_t full = options_.keep_bytes / kSegmentsKept;
  uint64_t end = 0;
  {
    MutexLock lock(mutex_);
    if (!segments_.empty()) end = segments_.back().bytes;
  }
  if (end == 0 || end >= full) {
    TRY(StartSegment());
    end = kSegmentHeadBytes;
  }
  const EventHead first = ReadEventHead(events, lineage_);
  EventHead last = first;
  size_t size = first.EventBytes();
  while (size < events.size() && end + size < full) {
    last = ReadEventHead(events.subspan(size), lineage_);
    size += last.EventBytes();
  }
  // At its place, not at the end of the file: an attempt that failed half way is overwritten.
  TRY(file_->WriteAt(end, events.first(size)));
  {
    MutexLock lock(mutex_);
    Segment& segment = segments_.back();
    segment.bytes += size;
    if (!segment.first) segment.first = first.token;
    newest_ = last.token;
    newest_ends_ = last.ends;
  }
  changed_.NotifyAll();
  return size;
}

Status EventStore::StartSegment() {
  Segment segment;
  segment.number = 1;
  segment.bytes = kSegmentHeadBytes;
  segment.lineage = lineage_;
  {
    MutexLock lock(mutex_);
    if (!segments_.empty()) segment.number = segments_.back().number + 1;
    segment.before = newest_;
  }
  std::string head(kSegmentMagic);
  for (uint8_t byte : segment.lineage) head += static_cast<char>(byte);
  head += static_cast<char>(KindOf(segment.before));
  head.append(7, '\0');
  AppendBe64(head, segment.before ? segment.before->txid.raw() : 0);
  AppendBe64(head, segment.before ? segment.before->ordinal : 0);
  AppendBe64(head, CrcOf(AsBytes(head)));
  TRY_ASSIGN(File file, File::CreateOrTruncate(PathOf(segment.number)));
  TRY(file.WriteAt(0, AsBytes(head)));
  file_ = std::move(file);
  MutexLock lock(mutex_);
  segments_.push_back(std::move(segment));
  return Ok();
}

// Readers that are still in what goes are waited for a little.
Status EventStore::RemoveOldest(std::stop_token stop) {
  while (true) {
    uint64_t number = 0;
    {
      MutexLock lock(mutex_);
      uint64_t bytes = 0;
      for (const Segment& segment : segments_) bytes += segment.bytes;
      if (segments_.size() < 2 || bytes <= options_.keep_bytes) return Ok();
      number = segments_.front().number;
      const SteadyTime deadline = DeadlineIn(options_.slow_reader_wait);
      while (!reading_.empty() && *reading_.begin() <= number) {
        if (!readers_moved_.WaitUntil(mutex_, stop, deadline)) break;
      }
      segments_.pop_front();
    }
    TRY(RemoveFile(PathOf(number)));
  }
}

}  // namespace runnel::feed
