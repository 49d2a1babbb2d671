#include "publisher/log_head.h"

#include <utility>
#include <variant>

#include "ltx/format/header.h"
#include "ltx/sqlite/wal_format.h"

namespace runnel::publisher {
namespace {

// Chunks of one unfinished LTX that may have to be stepped over: a terabyte at 512 KiB each.
constexpr uint32_t kUnfinishedChunksMax = 1u << 21;
// Messages at the end that are no envelopes (another program's, or damaged) before the log counts as somebody else's.
constexpr uint32_t kForeignTailMax = 1000;
// Void messages at the end: what a publisher that is taken over from may have on its way (SenderOptions).
constexpr uint32_t kVoidTailMax = 1024;
// Heartbeats of a leadership that may have published nothing: a quarter of an hour of them.
constexpr uint32_t kIdleMessagesMax = 1000;

// The message before `seq`, nullopt at the beginning of the log. Sequences may have holes.
Result<std::optional<bus::Message>> Before(bus::Log& log, bus::StreamSeq seq, bus::StreamSeq first) {
  for (uint64_t back = seq.raw(); back-- > first.raw();) {
    TRY_ASSIGN(std::optional<bus::Message> found, log.Get(bus::StreamSeq(back)));
    if (found && found->seq < seq) return found;
  }
  return std::optional<bus::Message>();
}

Error NotOurs(const Error& error, const bus::Message& message, const bus::LogInfo& info) {
  Errc code = error.code() == Errc::kCorrupt ? Errc::kRefused : error.code();
  return error.As(code).With("message " + std::to_string(message.seq.raw()) + " of " + info.location +
                             " is not ours; is another program writing there?");
}

// The tail, or the message in front of the void ones that end the log. A message found here with an epoch of at least
// `led` is the proof that they are void: every reader has come past it.
Result<bus::Message> NewestThatCounts(bus::Log& log, const bus::Message& tail, const Leadership& led,
                                      bus::StreamSeq first) {
  std::optional<bus::Message> message = tail;
  for (uint32_t step = 0; message && step <= kVoidTailMax && led.epoch != bus::Epoch(); ++step) {
    const Result<bus::Header> header = bus::DecodeHeader(message->payload);
    if (header.ok() && header->lineage != led.lineage) return tail;
    const bool unknown = !header.ok() && header.code() != Errc::kCorrupt;
    if (unknown || (header.ok() && header->epoch >= led.epoch)) return *std::move(message);
    TRY_ASSIGN(message, Before(log, message->seq, first));
  }
  return tail;
}

bool TellsPosition(const bus::Envelope& envelope) {
  if (const auto* chunk = std::get_if<bus::Chunk>(&envelope.body)) return chunk->last;
  return !std::holds_alternative<bus::UnknownKind>(envelope.body);
}

}  // namespace

Result<LogHead> ReadLogHead(bus::Log& log, const Leadership& led) {
  LogHead head;
  TRY_ASSIGN(std::optional<bus::Message> message, log.Tail());
  if (!message) return head;
  TRY_ASSIGN(bus::LogInfo info, log.Info());
  head.tail_seq = message->seq;
  TRY_ASSIGN(message, NewestThatCounts(log, *message, led, info.first_seq));
  uint32_t foreign = 0;
  for (uint32_t step = 0; message && step < kUnfinishedChunksMax; ++step) {
    Result<bus::Envelope> envelope = bus::Decode(message->payload);
    if (!envelope.ok() && (envelope.code() != Errc::kCorrupt || ++foreign > kForeignTailMax)) {
      return NotOurs(envelope.error(), *message, info);
    }
    if (!envelope.ok()) {
      const bus::StreamSeq seq = message->seq;
      TRY_ASSIGN(std::optional<bus::Message> before, Before(log, seq, info.first_seq));
      if (!before && head.empty) return NotOurs(envelope.error(), *message, info);
      message = std::move(before);
      continue;
    }
    if (head.empty) {
      head.empty = false;
      head.newest_seq = message->seq;
      head.lineage = envelope->header.lineage;
      head.epoch = envelope->header.epoch;
      head.page_size = envelope->header.page_size;
    }
    if (TellsPosition(*envelope)) {
      head.position = envelope->header.position;
      return head;
    }
    TRY_ASSIGN(message, Before(log, message->seq, info.first_seq));
  }
  // Nothing but the first chunks of a first snapshot: as good as empty, but the lineage and epoch are known.
  head.position = Position();
  return head;
}

Result<bool> NothingPublishedSince(bus::Log& log, const LogHead& head, bus::Epoch epoch) {
  TRY_ASSIGN(bus::LogInfo info, log.Info());
  TRY_ASSIGN(std::optional<bus::Message> message, log.Get(head.tail_seq));
  for (uint32_t step = 0; message && step < kIdleMessagesMax; ++step) {
    Result<bus::Envelope> envelope = bus::Decode(message->payload);
    if (!envelope.ok() || envelope->header.lineage != head.lineage) return false;
    const bool newer = envelope->header.epoch > epoch;  // else void: behind a takeover
    const bool takeover = std::holds_alternative<bus::TakeOverMarker>(envelope->body);
    if (newer && !takeover && !std::holds_alternative<bus::Heartbeat>(envelope->body)) return false;
    if (takeover && envelope->header.epoch == epoch.Next()) return true;
    TRY_ASSIGN(message, Before(log, message->seq, info.first_seq));
  }
  return false;
}

Result<std::optional<WalPosition>> ReadLastWalPosition(bus::Log& log, const LogHead& head, uint32_t messages_max) {
  TRY_ASSIGN(bus::LogInfo info, log.Info());
  TRY_ASSIGN(std::optional<bus::Message> message, log.Get(head.newest_seq));
  for (uint32_t step = 0; message && step < messages_max; ++step) {
    Result<bus::Envelope> decoded = bus::Decode(message->payload);
    if (!decoded.ok()) {
      TRY_ASSIGN(message, Before(log, message->seq, info.first_seq));
      continue;
    }
    const bus::Envelope& envelope = *decoded;
    if (const auto* commits = std::get_if<bus::Commits>(&envelope.body)) {
      const bus::Entry& entry = commits->entries.back();
      if (entry.ltx.size() < ltx::kHeaderBytes) return std::optional<WalPosition>();
      TRY_ASSIGN(ltx::Header header, ltx::DecodeHeader(AsBytes(entry.ltx).first(ltx::kHeaderBytes)));
      if (header.wal_bytes == 0 || header.max_txid != head.position.txid) return std::optional<WalPosition>();
      uint64_t end = header.wal_offset + header.wal_bytes;
      WalPosition at;
      at.frame =
          static_cast<uint32_t>((end - sqlite::kWalHeaderBytes) / (sqlite::kFrameHeaderBytes + header.page_size.raw()));
      at.salt[0] = __builtin_bswap32(header.wal_salt1);
      at.salt[1] = __builtin_bswap32(header.wal_salt2);
      at.checksum[0] = static_cast<uint32_t>(entry.wal_checksum >> 32);
      at.checksum[1] = static_cast<uint32_t>(entry.wal_checksum);
      return std::optional(at);
    }
    if (std::holds_alternative<bus::Chunk>(envelope.body)) return std::optional<WalPosition>();
    TRY_ASSIGN(message, Before(log, message->seq, info.first_seq));
  }
  return std::optional<WalPosition>();
}

}  // namespace runnel::publisher
