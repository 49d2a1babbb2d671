#include "subscriber/feed_entries.h"

#include <utility>
#include <variant>

#include "bus/chunk_reader.h"
#include "bus/find.h"
#include "ltx/base/bytes.h"
#include "ltx/base/log.h"
#include "ltx/format/decoder.h"
#include "subscriber/admit.h"

namespace runnel::subscriber {

feed::FeedEntry FeedEntryOf(const bus::EntryInfo& entry, const bus::Lineage& lineage, ltx::ByteSource& source) {
  bool all_pages = entry.origin == bus::Origin::kCommit || entry.origin == bus::Origin::kRange;
  return feed::FeedEntry{lineage.bytes, entry.min_txid, entry.max_txid, entry.captured_at, all_pages, source};
}

Status FeedCursor::Show(const bus::EntryInfo& entry, const ltx::Header& header, ltx::ByteSource& source,
                        const Visitor& visit) {
  switch (Admit(position_, header, entry.origin)) {
    case Admission::kDuplicate: return Ok();
    case Admission::kGap:
      return Error(Errc::kGap,
                   "TXID " + ToString(entry.min_txid) + " came, " + ToString(position_.txid.Next()) + " was to come");
    case Admission::kFork:
      return Error(Errc::kRefused, "fork: TXID " + ToString(entry.min_txid) + " was made from checksum " +
                                       ToString(header.pre_apply_checksum) + ", the feed is at " + ToString(position_));
    case Admission::kCovers:
    case Admission::kNext: break;
  }
  TRY_ASSIGN(position_, visit(FeedEntryOf(entry, bus::Lineage{lineage_}, source)));
  return Ok();
}

Result<std::unique_ptr<FeedEntries>> FeedEntries::Open(bus::Log& log, const feed::LineageId& lineage, Position position,
                                                       std::stop_token stop) {
  std::unique_ptr<FeedEntries> entries(new FeedEntries(lineage, position));
  // The end is asked before the search, so nothing appended meanwhile is passed over.
  TRY_ASSIGN(bus::LogInfo info, log.Info());
  TRY_ASSIGN(std::optional<bus::StreamSeq> start, bus::FindTxid(log, position.txid.Next(), std::move(stop)));
  TRY_ASSIGN(entries->reader_, log.Read(bus::FromSequence{start ? *start : info.last_seq.Next()}));
  return entries;
}

Status FeedEntries::Next(bus::SteadyTime deadline, std::stop_token stop, const Visitor& visit) {
  if (interruption_) {
    bus::Message message = std::move(*interruption_);
    interruption_.reset();
    return Handle(std::move(message), std::move(stop), visit);
  }
  TRY_ASSIGN(bus::Message message, reader_->Next(deadline, stop));
  return Handle(std::move(message), std::move(stop), visit);
}

Status FeedEntries::Handle(bus::Message message, std::stop_token stop, const Visitor& visit) {
  Result<std::optional<bus::CommitsView>> commits = bus::ViewCommits(message.payload);
  if (!commits.ok()) return PassOver(message, commits.error());
  if (*commits) {
    TRY_ASSIGN(const bool counts, Counts((*commits)->header));
    return counts ? HandleCommits(**commits, visit) : Ok();
  }
  Result<bus::Envelope> decoded = bus::Decode(message.payload);
  if (!decoded.ok()) return PassOver(message, decoded.error());
  bus::Envelope envelope = std::move(*decoded);
  TRY_ASSIGN(const bool counts, Counts(envelope.header));
  if (!counts) return Ok();
  if (auto* chunk = std::get_if<bus::Chunk>(&envelope.body)) {
    if (chunk->index != 0) return Ok();  // the rest of a file whose beginning was passed over
    return HandleChunk(std::move(envelope), message.seq, std::move(stop), visit);
  }
  if (std::holds_alternative<bus::UnknownKind>(envelope.body)) return Ok();
  return HandlePosition(envelope.header.position);
}

// Not ours, or damaged: what it may have held is missed at the next one. Another error is the feed's end.
Status FeedEntries::PassOver(const bus::Message& message, const Error& error) const {
  if (error.code() != Errc::kCorrupt) return error.With("message " + std::to_string(message.seq.raw()));
  Log(Level::kWarn, "damaged_message_skipped", {{"seq", message.seq.raw()}, {"err", error.message()}});
  return Ok();
}

// False: the message is void.
Result<bool> FeedEntries::Counts(const bus::Header& header) {
  if (header.lineage.bytes == cursor_.lineage()) return fence_.Admits(header);
  return Error(Errc::kRefused, "the log now belongs to lineage " + ToString(header.lineage) + ", the feed follows " +
                                   feed::ToString(cursor_.lineage()) +
                                   ": its history was cut; begin the new one with --from earliest");
}

Status FeedEntries::HandleCommits(const bus::CommitsView& commits, const Visitor& visit) {
  for (const bus::EntryView& entry : commits.entries) {
    if (entry.ltx.size() < ltx::kFileBytesMin) return Error(Errc::kCorrupt, "an LTX of the log is too short");
    TRY_ASSIGN(ltx::Header header, ltx::DecodeHeader(entry.ltx.first(ltx::kHeaderBytes)));
    ltx::BytesSource source(entry.ltx);
    TRY(cursor_.Show(entry, header, source, visit));
  }
  return Ok();
}

Status FeedEntries::HandleChunk(bus::Envelope envelope, bus::StreamSeq seq, std::stop_token stop,
                                const Visitor& visit) {
  const auto& chunk = std::get<bus::Chunk>(envelope.body);
  if (chunk.data.size() < ltx::kHeaderBytes) return Error(Errc::kCorrupt, "the first chunk of an LTX is too short");
  TRY_ASSIGN(ltx::Header header, ltx::DecodeHeader(AsBytes(chunk.data).first(ltx::kHeaderBytes)));
  bus::Entry entry = chunk.entry;
  bus::ChunkReader source(*reader_, seq, std::move(envelope), std::move(stop));
  Status shown = cursor_.Show(entry, header, source, visit);
  // The publisher died inside this file; what came instead says how it goes on.
  interruption_ = source.TakeInterruption();
  return interruption_ ? Ok() : shown;
}

// Heartbeats and takeover markers carry the publisher's position: silence is told apart from loss by them.
Status FeedEntries::HandlePosition(const Position& head) const {
  if (head.txid > position().txid) {
    return Error(Errc::kGap, "the log is at " + ToString(head) + ", the feed at " + ToString(position()) +
                                 ", and nothing lies between");
  }
  if (head.txid == position().txid && head.checksum != position().checksum) {
    return Error(Errc::kRefused, "fork: the log is at " + ToString(head) + ", the feed at " + ToString(position()));
  }
  return Ok();
}

}  // namespace runnel::subscriber
