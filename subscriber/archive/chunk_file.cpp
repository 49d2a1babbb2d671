#include "subscriber/archive/chunk_file.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <variant>

#include "ltx/base/time.h"

namespace runnel::archive {
namespace {

// A publisher that goes silent inside an LTX is replaced by another within this time, or the bus says why not.
constexpr std::chrono::seconds kNextChunkWait{60};

}  // namespace

ChunkFile::ChunkFile(bus::LogReader& reader, bus::StreamSeq seq, bus::Envelope first, std::stop_token stop)
    : reader_(reader), stop_(std::move(stop)), header_(first.header), current_(std::move(first)), last_seq_(seq) {
  const auto& chunk = std::get<bus::Chunk>(current_.body);
  // The first chunk of a file always begins one.
  failed_ = !joiner_.Add(header_, chunk).ok();
  last_ = chunk.last;
  data_ = chunk.data;
}

Result<size_t> ChunkFile::Read(MutableBytes out) {
  if (failed_) return Error(Errc::kCorrupt, "the chunks of an LTX do not agree about its size");
  if (data_.empty() && !last_) TRY(Advance());
  const size_t size = std::min(out.size(), data_.size());
  if (size != 0) std::memcpy(out.data(), data_.data(), size);
  data_.remove_prefix(size);
  return size;
}

Status ChunkFile::Interrupted(bus::Message message) {
  interruption_ = std::move(message);
  return Error(Errc::kGap, "an LTX breaks off inside of the log, its publisher has not finished it");
}

Status ChunkFile::Advance() {
  while (data_.empty() && !last_) {
    Result<bus::Message> next = reader_.Next(DeadlineIn(kNextChunkWait), stop_);
    if (!next.ok()) return next.code() == Errc::kTimeout ? next.error().As(Errc::kUnavailable) : next.error();
    bus::Message message = std::move(*next);
    Result<bus::Envelope> decoded = bus::Decode(message.payload);
    // Not ours; a chunk it may have been is missed at the next.
    if (!decoded.ok() && decoded.code() == Errc::kCorrupt) continue;
    if (!decoded.ok()) return decoded.error();
    const bool same_lineage = decoded->header.lineage == header_.lineage;
    if (same_lineage && decoded->header.epoch < header_.epoch) continue;  // void
    if (std::holds_alternative<bus::Heartbeat>(decoded->body) && same_lineage) continue;
    const auto* chunk = std::get_if<bus::Chunk>(&decoded->body);
    if (chunk == nullptr || chunk->index == 0) return Interrupted(std::move(message));
    current_ = std::move(*decoded);
    Result<bus::ChunkJoiner::Part> part = joiner_.Add(current_.header, std::get<bus::Chunk>(current_.body));
    if (!part.ok()) {
      if (part.code() == Errc::kGap) return Interrupted(std::move(message));
      return part.error();
    }
    data_ = part->data;
    last_ = part->complete;
    last_seq_ = message.seq;
  }
  return Ok();
}

}  // namespace runnel::archive
