#include "bus/chunker.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "bus/envelope_wire.h"

namespace runnel::bus {
namespace {

// "chunk 3 of TXIDs 0000000000000001-0000000000000009"
std::string Name(const Chunk& chunk) {
  return "chunk " + std::to_string(chunk.index) + " of TXIDs " + ToString(chunk.entry.min_txid) + "-" +
         ToString(chunk.entry.max_txid);
}

}  // namespace

Result<Chunker> Chunker::Make(Options options, Emit emit) {
  const Entry& entry = options.entry;
  Status checked = CheckEntry(entry.min_txid.raw(), entry.max_txid.raw(), static_cast<int>(entry.origin));
  if (!checked.ok()) return checked.error().As(Errc::kInvalid);
  if (!entry.ltx.empty()) return Error(Errc::kInvalid, "chunker: the entry already has bytes");
  uint64_t overhead = kChunkHeadroomBytes + options.header.node.size();
  if (options.payload_bytes_max <= overhead || options.data_bytes == 0) {
    return Error(Errc::kInvalid, "chunker: messages of at most " + std::to_string(options.payload_bytes_max) +
                                     " bytes have no room for data");
  }
  uint64_t data_bytes =
      std::min({options.data_bytes, options.payload_bytes_max - overhead, kPayloadBytesMax - overhead});
  Envelope envelope;
  envelope.header = std::move(options.header);
  envelope.header.min_txid = entry.min_txid;
  envelope.header.position = Position{entry.max_txid, Checksum(0)};
  Chunk chunk;
  chunk.entry = entry;
  chunk.data.reserve(data_bytes);
  envelope.body = std::move(chunk);
  return Chunker(std::move(envelope), data_bytes, std::move(emit));
}

Status Chunker::Write(Bytes bytes) {
  if (error_) return *error_;
  while (!bytes.empty()) {
    // A full chunk goes out only when more follows, because only Finish knows which one is the last.
    if (envelope_chunk().data.size() == data_bytes_) TRY(EmitChunk());
    std::string& data = envelope_chunk().data;
    size_t size = std::min(bytes.size(), data_bytes_ - data.size());
    data.append(AsText(bytes.first(size)));
    bytes = bytes.subspan(size);
    total_bytes_ += size;
  }
  return Ok();
}

Status Chunker::Finish(Checksum checksum, uint64_t ltx_checksum) {
  if (error_) return *error_;
  if (total_bytes_ == 0 || !checksum.valid()) {
    error_ = Error(Errc::kInvalid, "chunker: a file without bytes or without a position");
    return *error_;
  }
  Chunk& chunk = envelope_chunk();
  chunk.last = true;
  chunk.ltx_checksum = ltx_checksum;
  chunk.ltx_bytes = total_bytes_;
  envelope_.header.position.checksum = checksum;
  TRY(EmitChunk());
  error_ = Error(Errc::kInvalid, "chunker: the file is finished");
  return Ok();
}

Status Chunker::EmitChunk() {
  std::string data = std::exchange(envelope_chunk().data, std::string());
  Envelope out = envelope_;
  std::get<Chunk>(out.body).data = std::move(data);
  Status emitted = emit_(std::move(out));
  if (!emitted.ok()) {
    error_ = emitted.error();
    return *error_;
  }
  envelope_chunk().index += 1;
  if (!envelope_chunk().last) envelope_chunk().data.reserve(data_bytes_);
  return Ok();
}

bool ChunkJoiner::IsSameFile(const Header& header, const Chunk& chunk) const {
  return joined_->lineage == header.lineage && joined_->epoch == header.epoch &&
         joined_->min_txid == chunk.entry.min_txid && joined_->max_txid == chunk.entry.max_txid &&
         joined_->origin == chunk.entry.origin;
}

Result<ChunkJoiner::Part> ChunkJoiner::Take(const Chunk& chunk, Outcome outcome) {
  joined_->chunk_count += 1;
  joined_->bytes += chunk.data.size();
  uint64_t bytes = joined_->bytes;
  if (bytes > ltx_bytes_max_) {
    Forget();
    return Error(Errc::kExhausted,
                 Name(chunk) + ": the file is larger than " + std::to_string(ltx_bytes_max_) + " bytes");
  }
  if (chunk.last) {
    Forget();
    if (bytes != chunk.ltx_bytes) {
      return Error(Errc::kCorrupt, Name(chunk) + ": the parts have " + std::to_string(bytes) +
                                       " bytes, the last one says " + std::to_string(chunk.ltx_bytes));
    }
  }
  return Part{outcome, chunk.data, chunk.last};
}

Result<ChunkJoiner::Part> ChunkJoiner::Add(const Header& header, const Chunk& chunk) {
  bool same_lineage = joined_ && joined_->lineage == header.lineage;
  if (same_lineage && header.epoch < joined_->epoch) return Part{Outcome::kStale, {}, false};
  if (chunk.index == 0) {
    Outcome outcome = joined_ ? Outcome::kRestart : Outcome::kFirst;
    joined_ =
        Joined{header.lineage, header.epoch, chunk.entry.min_txid, chunk.entry.max_txid, chunk.entry.origin, 0, 0};
    return Take(chunk, outcome);
  }
  if (!joined_) return Error(Errc::kGap, Name(chunk) + ": its beginning is missing");
  if (!IsSameFile(header, chunk)) {
    Error error(Errc::kGap, Name(chunk) + ": its beginning is missing, the file before it (TXIDs " +
                                ToString(joined_->min_txid) + "-" + ToString(joined_->max_txid) + ") was not finished");
    Forget();
    return error;
  }
  if (chunk.index < joined_->chunk_count) return Part{Outcome::kDuplicate, {}, false};
  if (chunk.index > joined_->chunk_count) {
    Error error(Errc::kGap, Name(chunk) + ": chunk " + std::to_string(joined_->chunk_count) + " is missing before it");
    Forget();
    return error;
  }
  return Take(chunk, Outcome::kNext);
}

}  // namespace runnel::bus
