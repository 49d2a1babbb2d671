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

}  // namespace

Result<std::unique_ptr<EventReader>> EventStore::Read(const EventStart& start) {
  std::unique_ptr<EventReader> reader(new EventReader(*this, start));  // private constructor
  MutexLock lock(mutex_);
  if (KeptNow().oldest) {
    TRY(reader->Begin());
  } else if (std::holds_alternative<AtNewest>(start)) {
    reader->start_ = AtOldest();  // all that will ever come is newer
  }
  return reader;
}

EventReader::~EventReader() {
  if (!begun_) return;
  {
    MutexLock lock(store_.mutex_);
    store_.reading_.erase(store_.reading_.find(number_));
  }
  store_.readers_moved_.NotifyAll();
}

// REQUIRES: something is kept.
Status EventReader::Begin() {
  const std::deque<EventStore::Segment>& segments = store_.segments_;
  const EventStore::Segment* segment = &segments.front();
  uint64_t offset = kSegmentHeadBytes;
  if (const Token* token = std::get_if<Token>(&start_)) {
    TRY(CanReadBehind(store_.KeptNow(), *token));
    skip_ = *token;
    for (const EventStore::Segment& one : segments) {
      if (one.before && *one.before <= *token) segment = &one;
    }
  } else {
    whole_only_ = true;
    if (std::holds_alternative<AtNewest>(start_)) {
      segment = &segments.back();
      offset = segment->bytes;
    }
  }
  begun_ = true;
  number_ = segment->number;
  offset_ = offset;
  lineage_ = segment->lineage;
  store_.reading_.insert(number_);
  return Ok();
}

void EventReader::Enter(uint64_t number) {
  store_.reading_.erase(store_.reading_.find(number_));
  store_.reading_.insert(number);
  number_ = number;
  offset_ = kSegmentHeadBytes;
  file_.reset();
}

Result<uint64_t> EventReader::WaitForMore(SteadyTime deadline, std::stop_token stop) {
  MutexLock lock(store_.mutex_);
  while (true) {
    if (!begun_ && store_.KeptNow().oldest) TRY(Begin());
    if (begun_) {
      const uint64_t oldest = store_.segments_.front().number;
      if (number_ < oldest) {
        return Error(Errc::kGap, "the consumer is too slow: what comes next is no longer kept");
      }
      const EventStore::Segment& segment = store_.segments_[number_ - oldest];
      if (offset_ < segment.bytes) return segment.bytes;
      if (segment.number != store_.segments_.back().number) {
        Enter(segment.number + 1);
        lineage_ = store_.segments_[number_ - oldest].lineage;
        store_.readers_moved_.NotifyAll();
        continue;
      }
    }
    if (!store_.changed_.WaitUntil(store_.mutex_, stop, deadline)) {
      if (stop.stop_requested()) return Error(Errc::kCancelled, "events");
      return Error(Errc::kTimeout, "no more events yet");
    }
  }
}

Status EventReader::Next(SteadyTime deadline, std::stop_token stop, const Visitor& visit) {
  TRY_ASSIGN(const uint64_t end, WaitForMore(deadline, std::move(stop)));
  if (!file_) {
    Result<File> opened = File::OpenRead(store_.PathOf(number_));
    if (!opened.ok() && opened.code() == Errc::kNotFound) {
      return Error(Errc::kGap, "the consumer is too slow: what comes next is no longer kept");
    }
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
