#include "bus/find.h"

#include <algorithm>
#include <functional>
#include <utility>
#include <variant>

#include "bus/epoch_fence.h"
#include "bus/outline.h"

namespace runnel::bus {
namespace {

// A message known to be in the log that does not come for so long will not come at all.
constexpr std::chrono::seconds kReadPatience{30};
// First window of the search for a snapshot, and how much larger each next one is.
constexpr uint64_t kWindowMessages = 1024;
constexpr uint64_t kWindowGrowth = 4;
// So many messages before a window are read to know its epoch: what stands first in the window may be void, from a
// publisher that was taken over with less than that in flight.
constexpr uint64_t kFenceMessages = 64;
// Messages at the log's end that may be somebody else's before it is no log of ours.
constexpr uint32_t kForeignTailMax = 1000;

Error Stopped() { return Error(Errc::kCancelled, "stopped while searching the log"); }

// The newest message that is an envelope, and its lineage; nullopt: empty log. What another program has appended behind
// it says nothing about places.
struct Newest {
  StreamSeq seq;
  Lineage lineage;
};
Result<std::optional<Newest>> FindNewest(Log& log) {
  TRY_ASSIGN(std::optional<Message> tail, log.Tail());
  if (!tail) return std::optional<Newest>();
  TRY_ASSIGN(LogInfo info, log.Info());
  Result<Header> header = DecodeHeader(tail->payload);
  const Error first = header.ok() ? Error(Errc::kCorrupt, "") : header.error().With("the log's last message");
  for (uint32_t step = 0; !header.ok() && step < kForeignTailMax; ++step) {
    if (header.code() != Errc::kCorrupt || tail->seq <= info.first_seq) return first;
    StreamSeq before = tail->seq;
    for (uint64_t seq = before.raw() - 1; tail->seq >= before; --seq) {
      if (seq < info.first_seq.raw() || seq == 0) return first;
      TRY_ASSIGN(tail, log.Get(StreamSeq(seq)));
      if (!tail) return first;
    }
    header = DecodeHeader(tail->payload);
  }
  if (!header.ok()) return first;
  return std::optional(Newest{tail->seq, header->lineage});
}

// Reads messages [from, to] in order and gives their outlines; those that cannot be read as envelopes are passed over,
// because whoever reads on from the found place meets and judges them.
class OutlineReader {
 public:
  static Result<OutlineReader> Open(Log& log, StreamSeq from, StreamSeq to) {
    OutlineReader reader(log, from, to);
    TRY_ASSIGN(reader.reader_, log.Read(FromSequence{from}));
    return reader;
  }

  struct Item {
    StreamSeq seq;
    Outline outline;
    bool behind_hole = false;  // messages between this and the one before it are missing
  };
  // nullopt: behind the last. Errors: kGap where messages are missing.
  Result<std::optional<Item>> Next(const std::stop_token& stop) {
    while (next_ <= to_) {
      TRY_ASSIGN(Message message, reader_->Next(std::chrono::steady_clock::now() + kReadPatience, stop));
      if (message.seq > to_) break;
      next_ = message.seq.Next();
      Result<Outline> outline = DecodeOutline(message.payload);
      if (outline.ok()) return std::optional(Item{message.seq, *std::move(outline)});
    }
    return std::optional<Item>();
  }
  // The same, but goes on behind what is missing.
  Result<std::optional<Item>> NextAcrossHoles(const std::stop_token& stop) {
    bool hole = false;
    while (true) {
      Result<std::optional<Item>> item = Next(stop);
      if (item.ok() && *item) (*item)->behind_hole = hole;
      if (item.ok() || item.code() != Errc::kGap) return item;
      // A message that is listed but cannot be read is part of the hole.
      TRY_ASSIGN(std::optional<Message> behind, log_->Get(hole ? next_.Next() : next_));
      hole = true;
      if (!behind || behind->seq > to_) return std::optional<Item>();
      next_ = behind->seq;
      TRY_ASSIGN(reader_, log_->Read(FromSequence{next_}));
    }
  }

 private:
  OutlineReader(Log& log, StreamSeq from, StreamSeq to) : log_(&log), to_(to), next_(from) {}

  Log* log_;
  std::unique_ptr<LogReader> reader_;
  StreamSeq to_;
  StreamSeq next_;
};

struct Bound {
  StreamSeq seq;
  Epoch epoch;  // of the lineage: some message before `seq` had it
};

// Lower bound of "is of this lineage and at or behind this TXID" in [low, high]; high + 1 if none is.
Result<Bound> LowerBound(Log& log, const Lineage& lineage, Txid first_needed, StreamSeq low, StreamSeq high,
                         const std::stop_token& stop) {
  uint64_t begin = low.raw();
  uint64_t end = high.raw() + 1;
  Epoch epoch;
  while (begin < end) {
    if (stop.stop_requested()) return Stopped();
    uint64_t middle = begin + (end - begin) / 2;
    uint64_t seq = middle;
    std::optional<Header> header;
    while (!header && seq < end) {
      TRY_ASSIGN(std::optional<Message> message, log.Get(StreamSeq(seq)));
      if (!message || message->seq.raw() >= end) {
        seq = end;
        break;
      }
      seq = message->seq.raw();
      Result<Header> decoded = DecodeHeader(message->payload);
      if (decoded.ok()) {
        header = *std::move(decoded);
      } else {
        ++seq;
      }
    }
    bool behind = !header || (header->lineage == lineage && header->position.txid >= first_needed);
    if (behind) {
      end = middle;
    } else {
      begin = seq + 1;
      if (header->lineage == lineage) epoch = std::max(epoch, header->epoch);
    }
  }
  return Bound{StreamSeq(begin), epoch};
}

Error NotInLog(Txid first_needed, const std::string& what) {
  return Error(Errc::kGap, "TXID " + ToString(first_needed) + " is not in the log any more: " + what);
}

}  // namespace

Result<std::optional<StreamSeq>> FindTxid(Log& log, Txid first_needed, std::stop_token stop) {
  TRY_ASSIGN(std::optional<Newest> newest, FindNewest(log));
  if (!newest) return std::optional<StreamSeq>();
  TRY_ASSIGN(LogInfo info, log.Info());
  TRY_ASSIGN(const Bound from, LowerBound(log, newest->lineage, first_needed, info.first_seq, newest->seq, stop));
  if (from.seq > newest->seq) return std::optional<StreamSeq>();
  // From here on some message knows of first_needed, if only a void one; the first whole LTX that follows must hold it.
  TRY_ASSIGN(OutlineReader reader, OutlineReader::Open(log, from.seq, newest->seq));
  EpochFence fence(newest->lineage, from.epoch);
  bool known = false;
  while (true) {
    TRY_ASSIGN(std::optional<OutlineReader::Item> item, reader.Next(stop));
    if (!item && !known) return std::optional<StreamSeq>();
    if (!item) return NotInLog(first_needed, "only later positions are, no LTX");
    const Outline& outline = item->outline;
    if (outline.header.lineage != newest->lineage || !fence.Admits(outline.header)) continue;
    known = known || outline.header.position.txid >= first_needed;
    bool orphan = outline.carries == Outline::Carries::kChunk && outline.chunk_index > 0;
    if (outline.carries == Outline::Carries::kNothing || orphan) continue;
    auto entry =
        std::ranges::find_if(outline.entries, [&](const EntryOutline& e) { return e.max_txid >= first_needed; });
    if (entry == outline.entries.end()) continue;
    if (entry->min_txid <= first_needed) return std::optional(item->seq);
    return NotInLog(first_needed, "it begins with TXID " + ToString(entry->min_txid));
  }
}

namespace {

// What was found in a part of a log; both last ones there.
struct Images {
  std::optional<SnapshotPlace> snapshot;
  std::optional<StreamSeq> reference;
};

// Puts a chunked snapshot together: which of the chunks that come belong to one, and when it is complete.
class SnapshotChunks {
 public:
  bool begun() const { return begun_.has_value(); }
  void Forget() { begun_.reset(); }

  // `may_begin`: a snapshot that begins with this chunk is of interest. Returns a snapshot with its last chunk.
  std::optional<SnapshotPlace> Take(const OutlineReader::Item& item, bool may_begin) {
    const Outline& outline = item.outline;
    const EntryOutline& entry = outline.entries.back();
    if (outline.chunk_index == 0 && may_begin) {
      begun_ = SnapshotPlace{item.seq, outline.header.lineage, entry.max_txid};
      count_ = 0;
    }
    if (!begun_) return std::nullopt;
    const bool next = outline.chunk_index == count_ && entry.max_txid == begun_->txid;
    if (!next) {
      begun_.reset();
      return std::nullopt;
    }
    ++count_;
    return outline.chunk_last ? std::exchange(begun_, std::nullopt) : std::nullopt;
  }

 private:
  std::optional<SnapshotPlace> begun_;
  uint32_t count_ = 0;
};

// References in [from, to], and complete snapshots of at most this TXID that begin there; they may end behind it.
// Messages in [before, from) only tell the epoch.
Result<Images> ImagesIn(Log& log, StreamSeq before, StreamSeq from, StreamSeq to, const Newest& newest, Txid at_most,
                        const std::stop_token& stop) {
  Images found;
  SnapshotChunks chunks;
  EpochFence fence;
  TRY_ASSIGN(OutlineReader reader, OutlineReader::Open(log, before, newest.seq));
  while (true) {
    TRY_ASSIGN(const std::optional<OutlineReader::Item> item, reader.NextAcrossHoles(stop));
    // No file goes across a hole, one behind it may be whole.
    if (item && item->behind_hole) chunks.Forget();
    const bool inside = item && item->seq <= to;
    if (!item || (!inside && !chunks.begun())) return found;
    const Outline& outline = item->outline;
    if (outline.header.lineage != newest.lineage || !fence.Admits(outline.header) || item->seq < from) continue;
    if (outline.refers && inside) found.reference = item->seq;
    if (outline.carries == Outline::Carries::kNothing) continue;
    // A snapshot starts at TXID 1, so it can only be the first of several entries.
    const EntryOutline& front = outline.entries.front();
    const bool wanted = front.origin == Origin::kSnapshot && front.max_txid <= at_most;
    if (outline.carries == Outline::Carries::kEntries) {
      chunks.Forget();
      if (wanted && inside) found.snapshot = SnapshotPlace{item->seq, newest.lineage, front.max_txid};
    } else if (!wanted) {
      chunks.Forget();
    } else if (std::optional<SnapshotPlace> whole = chunks.Take(*item, inside)) {
      found.snapshot = whole;
    }
  }
}

// Looks at windows of the log that begin further and further back from its newest message, until `enough`.
Result<Images> LookBack(Log& log, const Newest& newest, Txid at_most, const std::stop_token& stop,
                        const std::function<bool(const Images&)>& enough) {
  TRY_ASSIGN(LogInfo info, log.Info());
  uint64_t first = std::max<uint64_t>(info.first_seq.raw(), 1);
  uint64_t to = newest.seq.raw();
  for (uint64_t window = kWindowMessages; to >= first; window *= kWindowGrowth) {
    uint64_t from = to - first + 1 > window ? to - window + 1 : first;
    uint64_t before = from - first > kFenceMessages ? from - kFenceMessages : first;
    TRY_ASSIGN(Images found, ImagesIn(log, StreamSeq(before), StreamSeq(from), StreamSeq(to), newest, at_most, stop));
    if (enough(found)) return found;
    to = from - 1;
  }
  return Images();
}

Result<std::optional<ReferencePlace>> ReadReference(Log& log, std::optional<StreamSeq> seq) {
  if (!seq) return std::optional<ReferencePlace>();
  TRY_ASSIGN(std::optional<Message> message, log.Get(*seq));
  if (!message || message->seq != *seq) return std::optional<ReferencePlace>();  // trimmed meanwhile
  TRY_ASSIGN(Envelope envelope, Decode(message->payload));
  auto* ref = std::get_if<SnapshotRef>(&envelope.body);
  if (ref == nullptr) return Error(Errc::kCorrupt, "message " + std::to_string(seq->raw()) + " has changed");
  return std::optional(ReferencePlace{*seq, std::move(*ref)});
}

}  // namespace

Result<std::optional<SnapshotPlace>> FindLastSnapshot(Log& log, std::stop_token stop, Txid at_most) {
  TRY_ASSIGN(std::optional<Newest> newest, FindNewest(log));
  if (!newest) return std::optional<SnapshotPlace>();
  TRY_ASSIGN(Images found,
             LookBack(log, *newest, at_most, stop, [](const Images& found) { return found.snapshot.has_value(); }));
  return found.snapshot;
}

Result<std::optional<ReferencePlace>> FindLastReference(Log& log, std::stop_token stop) {
  TRY_ASSIGN(std::optional<Newest> newest, FindNewest(log));
  if (!newest) return std::optional<ReferencePlace>();
  TRY_ASSIGN(Images found,
             LookBack(log, *newest, Txid(), stop, [](const Images& found) { return found.reference.has_value(); }));
  return ReadReference(log, found.reference);
}

Result<ImagePlaces> FindLastImages(Log& log, std::stop_token stop) {
  ImagePlaces places;
  TRY_ASSIGN(std::optional<Newest> newest, FindNewest(log));
  if (!newest) return places;
  TRY_ASSIGN(Images found, LookBack(log, *newest, Txid(UINT64_MAX), stop,
                                    [](const Images& found) { return found.snapshot || found.reference; }));
  places.snapshot = found.snapshot;
  TRY_ASSIGN(places.reference, ReadReference(log, found.reference));
  return places;
}

}  // namespace runnel::bus
