#include "bus/chunk_reader.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <variant>

#include "ltx/base/time.h"

namespace runnel::bus {
namespace {

// A publisher that goes silent inside an LTX is replaced by another within this time, or the bus says why not.
constexpr std::chrono::seconds kNextChunkWait{60};

}  // namespace

ChunkReader::ChunkReader(LogReader& reader, StreamSeq seq, Envelope first, std::stop_token stop)
    : reader_(reader), stop_(std::move(stop)), header_(first.header), current_(std::move(first)), last_seq_(seq) {
  const auto& chunk = std::get<Chunk>(current_.body);
  const Result<ChunkJoiner::Part> part = joiner_.Add(header_, chunk);
  if (!part.ok()) failed_ = part.error();
  last_ = chunk.last;
  data_ = chunk.data;
}

Result<size_t> ChunkReader::Read(MutableBytes out) {
  TRY(failed_);
  if (data_.empty() && !last_) {
    failed_ = Advance();
    TRY(failed_);
  }
  const size_t size = std::min(out.size(), data_.size());
  if (size != 0) std::memcpy(out.data(), data_.data(), size);
  data_.remove_prefix(size);
  return size;
}

Status ChunkReader::Interrupted(Message message) {
  interruption_ = std::move(message);
  return Error(Errc::kGap, "the LTX of TXID " + ToString(std::get<Chunk>(current_.body).entry.max_txid) +
                               " breaks off inside of the log, its publisher has not finished it");
}

Status ChunkReader::Advance() {
  while (data_.empty() && !last_) {
    Result<Message> next = reader_.Next(DeadlineIn(kNextChunkWait), stop_);
    if (!next.ok()) return next.code() == Errc::kTimeout ? next.error().As(Errc::kUnavailable) : next.error();
    Message message = std::move(*next);
    Result<Envelope> decoded = Decode(message.payload);
    // Not ours; a chunk it may have been is missed at the next.
    if (!decoded.ok() && decoded.code() == Errc::kCorrupt) continue;
    if (!decoded.ok()) return decoded.error();
    const bool same_lineage = decoded->header.lineage == header_.lineage;
    if (same_lineage && decoded->header.epoch < header_.epoch) continue;  // void
    if (same_lineage && std::holds_alternative<Heartbeat>(decoded->body)) continue;
    const auto* chunk = std::get_if<Chunk>(&decoded->body);
    if (chunk == nullptr || chunk->index == 0) return Interrupted(std::move(message));
    Result<ChunkJoiner::Part> part = joiner_.Add(decoded->header, *chunk);
    if (!part.ok() && part.code() == Errc::kGap) return Interrupted(std::move(message));
    if (!part.ok()) return part.error();
    last_seq_ = message.seq;
    if (part->data.empty()) continue;  // a repeated one
    last_ = part->complete;
    current_ = std::move(*decoded);
    data_ = std::get<Chunk>(current_.body).data;
  }
  return Ok();
}

}  // namespace runnel::bus
