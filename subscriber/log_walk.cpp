#include "subscriber/log_walk.h"

#include <chrono>
#include <memory>
#include <optional>
#include <utility>
#include <variant>

#include "bus/chunk_reader.h"
#include "bus/epoch_fence.h"
#include "ltx/base/bytes.h"

namespace runnel::subscriber {
namespace {

// What lies in the log comes at once; a wait this long means that the bus has gone away.
constexpr std::chrono::seconds kNextWait{10};

// Visits a chunked LTX. The message that interrupted it, if any, is to be handled next.
Result<bool> VisitChunks(bus::LogReader& reader, bus::Envelope first, const LtxVisitor& visit, std::stop_token stop,
                         bus::StreamSeq& seq, std::optional<bus::Message>& next) {
  bus::Header header = first.header;
  bus::Entry entry = std::get<bus::Chunk>(first.body).entry;
  bus::ChunkReader source(reader, seq, std::move(first), std::move(stop));
  Result<bool> visited = visit({header, entry, source});
  seq = source.last_seq();
  next = source.TakeInterruption();
  if (next) return true;
  return visited;
}

}  // namespace

Status WalkLog(bus::Log& log, bus::StreamSeq start, const LtxVisitor& visit, std::stop_token stop) {
  TRY_ASSIGN(bus::LogInfo info, log.Info());
  if (start > info.last_seq) return Ok();
  TRY_ASSIGN(std::unique_ptr<bus::LogReader> reader, log.Read(bus::FromSequence{start}));
  std::optional<bus::Message> next;
  bus::EpochFence fence;
  bus::StreamSeq seq;
  bool more = true;
  while (more && (next || seq < info.last_seq)) {
    if (!next) {
      TRY_ASSIGN(next, reader->Next(std::chrono::steady_clock::now() + kNextWait, stop));
    }
    bus::Message message = std::move(*next);
    next.reset();
    seq = message.seq;
    Result<bus::Envelope> decoded = bus::Decode(message.payload);
    if (!decoded.ok() && decoded.code() == Errc::kCorrupt) continue;  // the visitor misses what it may have held
    if (!decoded.ok()) return decoded.error();
    bus::Envelope envelope = std::move(*decoded);
    if (!fence.Admits(envelope.header)) continue;
    if (auto* commits = std::get_if<bus::Commits>(&envelope.body)) {
      for (const bus::Entry& entry : commits->entries) {
        ltx::BytesSource source(AsBytes(entry.ltx));
        TRY_ASSIGN(more, visit({envelope.header, entry, source}));
        if (!more) break;
      }
    } else if (auto* chunk = std::get_if<bus::Chunk>(&envelope.body); chunk != nullptr && chunk->index == 0) {
      TRY_ASSIGN(more, VisitChunks(*reader, std::move(envelope), visit, stop, seq, next));
    }
  }
  return Ok();
}

}  // namespace runnel::subscriber
