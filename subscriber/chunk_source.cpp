#include "subscriber/chunk_source.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>
#include <variant>

namespace runnel::subscriber {
namespace {

// A publisher that goes silent inside an LTX is replaced by another within this time, or the bus says why not.
constexpr std::chrono::seconds kNextChunkWait{60};

}  // namespace

ChunkSource::ChunkSource(bus::LogReader& reader, bus::Envelope first, std::stop_token stop)
    : reader_(reader), stop_(std::move(stop)), header_(first.header) {
  auto& chunk = std::get<bus::Chunk>(first.body);
  entry_ = chunk.entry;
  last_ = chunk.last;
  data_ = std::move(chunk.data);
}

Result<size_t> ChunkSource::Read(MutableBytes out) {
  if (used_ == data_.size() && !last_) TRY(Advance());
  size_t size = std::min(out.size(), data_.size() - used_);
  std::memcpy(out.data(), data_.data() + used_, size);
  used_ += size;
  return size;
}

Status ChunkSource::Advance() {
  while (true) {
    TRY_ASSIGN(bus::Message message, reader_.Next(std::chrono::steady_clock::now() + kNextChunkWait, stop_));
    Result<bus::Envelope> decoded = bus::Decode(message.payload);
    if (!decoded.ok() && decoded.code() == Errc::kCorrupt)
      continue;  // not ours; a chunk it may have been is missed at the next
    if (!decoded.ok()) return decoded.error();
    bus::Envelope envelope = std::move(*decoded);
    if (envelope.header.epoch < header_.epoch) continue;  // void: an older leadership's message behind our takeover
    auto* chunk = std::get_if<bus::Chunk>(&envelope.body);
    bool follows = chunk != nullptr && chunk->index == next_index_ && chunk->entry.min_txid == entry_.min_txid &&
                   chunk->entry.max_txid == entry_.max_txid && envelope.header.lineage == header_.lineage &&
                   envelope.header.epoch == header_.epoch;
    if (!follows) {
      bool repeated = chunk != nullptr && chunk->index < next_index_ && chunk->index != 0 &&
                      chunk->entry.max_txid == entry_.max_txid;
      if (repeated) continue;
      interruption_ = std::move(message);
      return Error(Errc::kGap, "the LTX of TXID " + ToString(entry_.max_txid) + " breaks off behind chunk " +
                                   std::to_string(next_index_ - 1));
    }
    header_ = envelope.header;
    last_ = chunk->last;
    data_ = std::move(chunk->data);
    used_ = 0;
    ++next_index_;
    last_seq_ = message.seq;
    return Ok();
  }
}

}  // namespace runnel::subscriber
