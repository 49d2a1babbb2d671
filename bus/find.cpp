#include "bus/find.h"

#include <algorithm>

#include "bus/outline.h"

namespace runnel::bus {
namespace {

// A message known to be in the log that does not come for so long will not come at all.
constexpr std::chrono::seconds kReadPatience{30};
// First window of the search for a snapshot, and how much larger each next one is.
constexpr uint64_t kWindowMessages = 1024;
constexpr uint64_t kWindowGrowth = 4;
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
    TRY_ASSIGN(std::unique_ptr<LogReader> reader, log.Read(FromSequence{from}));
    return OutlineReader(std::move(reader), to);
  }

  struct Item {
    StreamSeq seq;
    Outline outline;
  };
  // nullopt: behind the last.
  Result<std::optional<Item>> Next(std::stop_token stop) {
    while (last_ < to_) {
      TRY_ASSIGN(Message message, reader_->Next(std::chrono::steady_clock::now() + kReadPatience, stop));
      if (message.seq > to_) break;
      last_ = message.seq;
      Result<Outline> outline = DecodeOutline(message.payload);
      if (outline.ok()) return std::optional(Item{message.seq, *std::move(outline)});
    }
    return std::optional<Item>();
  }

 private:
  OutlineReader(std::unique_ptr<LogReader> reader, StreamSeq to) : reader_(std::move(reader)), to_(to) {}

  std::unique_ptr<LogReader> reader_;
  StreamSeq to_;
  StreamSeq last_;
};

// Lower bound of "is of this lineage and at or behind this TXID" in [low, high]; high + 1 if none is.
Result<StreamSeq> LowerBound(Log& log, const Lineage& lineage, Txid first_needed, StreamSeq low, StreamSeq high,
                             const std::stop_token& stop) {
  uint64_t begin = low.raw();
  uint64_t end = high.raw() + 1;
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
    }
  }
  return StreamSeq(begin);
}

Error NotInLog(Txid first_needed, const std::string& what) {
  return Error(Errc::kGap, "TXID " + ToString(first_needed) + " is not in the log any more: " + what);
}

}  // namespace

Result<std::optional<StreamSeq>> FindTxid(Log& log, Txid first_needed, std::stop_token stop) {
  TRY_ASSIGN(std::optional<Newest> newest, FindNewest(log));
  if (!newest) return std::optional<StreamSeq>();
  TRY_ASSIGN(LogInfo info, log.Info());
  TRY_ASSIGN(StreamSeq from, LowerBound(log, newest->lineage, first_needed, info.first_seq, newest->seq, stop));
  if (from > newest->seq) return std::optional<StreamSeq>();
  // From here on some message knows of first_needed; the first whole LTX that follows must hold it.
  TRY_ASSIGN(OutlineReader reader, OutlineReader::Open(log, from, newest->seq));
  Epoch epoch;
  while (true) {
    TRY_ASSIGN(std::optional<OutlineReader::Item> item, reader.Next(stop));
    if (!item) return NotInLog(first_needed, "only later positions are, no LTX");
    const Outline& outline = item->outline;
    if (outline.header.lineage != newest->lineage || outline.header.epoch < epoch) continue;
    epoch = outline.header.epoch;
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

// The last complete snapshot of at most this TXID that begins in [from, to]; it may end behind `to`, up to `tail`.
Result<std::optional<SnapshotPlace>> LastSnapshotIn(Log& log, StreamSeq from, StreamSeq to, const Newest& newest,
                                                    Txid at_most, const std::stop_token& stop) {
  std::optional<SnapshotPlace> found;
  std::optional<SnapshotPlace> begun;  // in chunks, not complete yet
  uint32_t chunk_count = 0;
  TRY_ASSIGN(OutlineReader reader, OutlineReader::Open(log, from, newest.seq));
  StreamSeq next_seq = from;
  while (true) {
    Result<std::optional<OutlineReader::Item>> read = reader.Next(stop);
    if (!read.ok()) {
      // Messages are missing in the middle of the log: no file goes across the hole, one behind it may be whole.
      if (read.code() != Errc::kGap) return read.error();
      TRY_ASSIGN(std::optional<Message> behind, log.Get(next_seq));
      if (!behind || behind->seq > newest.seq) return found;
      begun.reset();
      next_seq = behind->seq.Next();
      TRY_ASSIGN(reader, OutlineReader::Open(log, behind->seq, newest.seq));
      continue;
    }
    const std::optional<OutlineReader::Item>& item = *read;
    if (!item || (item->seq > to && !begun)) return found;
    next_seq = item->seq.Next();
    const Outline& outline = item->outline;
    if (outline.header.lineage != newest.lineage || outline.carries == Outline::Carries::kNothing) continue;
    const EntryOutline& entry = outline.entries.back();
    if (outline.carries == Outline::Carries::kEntries) {
      begun.reset();
      // A snapshot starts at TXID 1, so it can only be the first of several entries.
      const EntryOutline& front = outline.entries.front();
      if (front.origin == Origin::kSnapshot && front.max_txid <= at_most && item->seq <= to) {
        found = SnapshotPlace{item->seq, newest.lineage, front.max_txid};
      }
      continue;
    }
    if (entry.origin != Origin::kSnapshot || entry.max_txid > at_most) {
      begun.reset();
      continue;
    }
    if (outline.chunk_index == 0 && item->seq <= to) {
      begun = SnapshotPlace{item->seq, newest.lineage, entry.max_txid};
      chunk_count = 0;
    }
    if (!begun) continue;
    bool next = outline.chunk_index == chunk_count && entry.max_txid == begun->txid;
    if (!next) {
      begun.reset();
      continue;
    }
    ++chunk_count;
    if (outline.chunk_last) {
      found = begun;
      begun.reset();
    }
  }
}

}  // namespace

Result<std::optional<SnapshotPlace>> FindLastSnapshot(Log& log, std::stop_token stop, Txid at_most) {
  TRY_ASSIGN(std::optional<Newest> newest, FindNewest(log));
  if (!newest) return std::optional<SnapshotPlace>();
  TRY_ASSIGN(LogInfo info, log.Info());
  uint64_t first = std::max<uint64_t>(info.first_seq.raw(), 1);
  uint64_t to = newest->seq.raw();
  for (uint64_t window = kWindowMessages; to >= first; window *= kWindowGrowth) {
    uint64_t from = to - first + 1 > window ? to - window + 1 : first;
    TRY_ASSIGN(std::optional<SnapshotPlace> found,
               LastSnapshotIn(log, StreamSeq(from), StreamSeq(to), *newest, at_most, stop));
    if (found) return found;
    to = from - 1;
  }
  return std::optional<SnapshotPlace>();
}

}  // namespace runnel::bus
