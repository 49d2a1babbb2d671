// How one consumer reads the events that are kept (event_store.h).
#include <algorithm>
#include <utility>

#include "ltx/base/bytes.h"
#include "subscriber/feed/sink/event_format.h"
#include "subscriber/feed/sink/event_store.h"

namespace runnel::feed {
namespace {

constexpr size_t kReadBytes = 256 << 10;

// Whether a consumer that knows nothing can begin with it.
bool Begins(const Token& token) { return token.ordinal == (token.snapshot ? 1u : 0u); }

Error TooSlow() { return Error(Errc::kGap, "the consumer is too slow: what comes next is no longer kept"); }

}  // namespace

Result<std::unique_ptr<EventReader>> EventStore::Read(const EventStart& start) {
  std::unique_ptr<EventReader> reader(new EventReader(*this, start));  // private constructor
  MutexLock lock(mutex_);
  if (KeptNow().oldest) {
    TRY(Place(*reader));
  } else if (std::holds_alternative<AtNewest>(start)) {
    reader->start_ = AtOldest();  // all that will ever come is newer
  }
  return reader;
}

// REQUIRES: something is kept.
Status EventStore::Place(EventReader& reader) {
  const Segment* segment = &segments_.front();
  uint64_t offset = kSegmentHeadBytes;
  if (const Token* token = std::get_if<Token>(&reader.start_)) {
    TRY(CanReadBehind(KeptNow(), *token));
    reader.skip_ = *token;
    for (const Segment& one : segments_) {
      if (one.before && *one.before <= *token) segment = &one;
    }
  } else {
    reader.whole_only_ = true;
    if (std::holds_alternative<AtNewest>(reader.start_)) {
      segment = &segments_.back();
      offset = segment->bytes;
    }
  }
  reader.begun_ = true;
  reader.number_ = segment->number;
  reader.offset_ = offset;
  reader.lineage_ = segment->lineage;
  reading_.insert(segment->number);
  return Ok();
}

void EventStore::Move(EventReader& reader, uint64_t number) {
  reading_.erase(reading_.find(reader.number_));
  reading_.insert(number);
  reader.number_ = number;
  reader.offset_ = kSegmentHeadBytes;
  reader.lineage_ = segments_[number - segments_.front().number].lineage;
  reader.file_.reset();
  readers_moved_.NotifyAll();
}

void EventStore::Leave(const EventReader& reader) {
  if (!reader.begun_) return;
  {
    MutexLock lock(mutex_);
    reading_.erase(reading_.find(reader.number_));
  }
  readers_moved_.NotifyAll();
}

Result<uint64_t> EventStore::WaitForMore(EventReader& reader, SteadyTime deadline, std::stop_token stop) {
  MutexLock lock(mutex_);
  while (true) {
    if (!reader.begun_ && KeptNow().oldest) TRY(Place(reader));
    if (reader.begun_) {
      const uint64_t oldest = segments_.front().number;
      if (reader.number_ < oldest) return TooSlow();
      const Segment& segment = segments_[reader.number_ - oldest];
      if (reader.offset_ < segment.bytes) return segment.bytes;
      if (segment.number != segments_.back().number) {
        Move(reader, segment.number + 1);
        continue;
      }
    }
    if (!changed_.WaitUntil(mutex_, stop, deadline)) {
      if (stop.stop_requested()) return Error(Errc::kCancelled, "events");
      return Error(Errc::kTimeout, "no more events yet");
    }
  }
}

EventReader::~EventReader() { store_.Leave(*this); }

Status EventReader::Next(SteadyTime deadline, std::stop_token stop, const Visitor& visit) {
  TRY_ASSIGN(const uint64_t end, store_.WaitForMore(*this, deadline, std::move(stop)));
  if (!file_) {
    Result<File> opened = File::OpenRead(store_.PathOf(number_));
    if (!opened.ok() && opened.code() == Errc::kNotFound) return TooSlow();
    TRY_ASSIGN(file_, std::move(opened));
  }
  return Show(end, visit);
}

Status EventReader::Show(uint64_t end, const Visitor& visit) {
  const uint64_t rest = end - offset_;
  buffer_.resize(std::min<uint64_t>(kReadBytes, rest));
  TRY(file_->ReadExactAt(offset_, buffer_));
  size_t at = 0;
  while (at + kEventHeadBytes <= buffer_.size()) {
    const EventHead head = ReadEventHead(Bytes(buffer_).subspan(at), lineage_);
    const uint64_t whole = head.EventBytes();
    if (whole > rest - at) break;
    if (at + whole > buffer_.size()) {
      if (at > 0) return Ok();  // read again from there on
      buffer_.resize(whole);
      TRY(file_->ReadExactAt(offset_, buffer_));
    }
    const Bytes event = Bytes(buffer_).subspan(at, whole);
    if (!IsWholeEvent(head, event)) break;
    if (Wanted(*head.token)) visit(*head.token, AsText(event.subspan(kEventHeadBytes)));
    at += whole;
    offset_ += whole;
  }
  if (at > 0) return Ok();
  return Error(Errc::kCorrupt, file_->path() + ": the event at " + std::to_string(offset_) + " is damaged");
}

bool EventReader::Wanted(const Token& token) {
  if (skip_ && token <= *skip_) return false;
  if (whole_only_ && !Begins(token)) return false;
  whole_only_ = false;
  return true;
}

}  // namespace runnel::feed
