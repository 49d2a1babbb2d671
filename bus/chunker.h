// LTX files that are larger than a message travel as consecutive Chunk messages: the Chunker cuts, the ChunkJoiner
// joins. Neither holds more than one chunk, so a commit of any size passes in constant memory.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "bus/envelope.h"
#include "ltx/base/bytes.h"
#include "ltx/base/result.h"
#include "ltx/format/encoder.h"

namespace runnel::bus {

// Measured best for JetStream, and a good size for a file's page cache too.
inline constexpr uint64_t kChunkDataBytes = 512 << 10;
// What a chunk's envelope needs besides its data and the node's name, and what a bus may add (headers with message
// ids).
inline constexpr uint64_t kChunkHeadroomBytes = 4096;

// Cuts one LTX file, given piece by piece, into envelopes. One thread. After an error it is dead.
class Chunker : public ltx::ByteSink {
 public:
  struct Options {
    // As in any message of this publisher; the TXIDs are set from the entry, the checksum by Finish.
    Header header;
    // Whose bytes follow; its `ltx` stays empty.
    Entry entry;
    uint64_t data_bytes = kChunkDataBytes;
    uint64_t payload_bytes_max = UINT64_MAX;  // LogWriter::payload_bytes_max(): smaller chunks if it says so
  };
  // Takes each chunk, in order; an error ends the chunker.
  using Emit = std::function<Status(Envelope envelope)>;

  // Errors: kInvalid (no room for data in a payload; an entry that breaks the envelope's rules).
  static Result<Chunker> Make(Options options, Emit emit);

  Status Write(Bytes bytes) override;

  // The file is complete. `checksum` is the database's after it, `ltx_checksum` the file's own. Errors: kInvalid (no
  // bytes).
  Status Finish(Checksum checksum, uint64_t ltx_checksum);

  uint32_t chunk_count() const { return envelope_chunk().index; }  // emitted so far

 private:
  Chunker(Envelope envelope, size_t data_bytes, Emit emit)
      : envelope_(std::move(envelope)), data_bytes_(data_bytes), emit_(std::move(emit)) {}
  Chunk& envelope_chunk() { return std::get<Chunk>(envelope_.body); }
  const Chunk& envelope_chunk() const { return std::get<Chunk>(envelope_.body); }
  Status EmitChunk();

  Envelope envelope_;  // the chunk being filled
  size_t data_bytes_;
  Emit emit_;
  uint64_t total_bytes_ = 0;
  std::optional<Error> error_;
};

// Checks that chunks make up whole files, and hands their data on. One thread.
class ChunkJoiner {
 public:
  // `ltx_bytes_max` bounds one file.
  explicit ChunkJoiner(uint64_t ltx_bytes_max = UINT64_MAX) : ltx_bytes_max_(ltx_bytes_max) {}

  enum class Outcome {
    kFirst,      // begins a file
    kRestart,    // begins a file while another was unfinished: a publisher started over; all data handed on of that is
                 // void
    kNext,       // continues the file
    kDuplicate,  // was handed on before: ignore it
    kStale,      // of an older epoch than the file being joined: void, ignore it
  };
  struct Part {
    Outcome outcome = Outcome::kFirst;
    std::string_view data;  // of the chunk given; empty for kDuplicate and kStale
    bool complete = false;  // the file is whole
  };
  // LIFETIME: the part's data points into `chunk`.
  // Errors: kGap (chunks before this one are missing), kCorrupt (the sizes do not agree), kExhausted (larger than the
  // bound). After an error the unfinished file is forgotten and only a chunk with index 0 goes on.
  Result<Part> Add(const Header& header, const Chunk& chunk);

  // A file has been begun and is not complete. Any message but a chunk or a heartbeat makes it void: call Forget.
  bool unfinished() const { return joined_.has_value(); }
  void Forget() { joined_.reset(); }

 private:
  struct Joined {
    Lineage lineage;
    Epoch epoch;
    Txid min_txid;
    Txid max_txid;
    Origin origin = Origin::kCommit;
    uint32_t chunk_count = 0;
    uint64_t bytes = 0;
  };
  bool IsSameFile(const Header& header, const Chunk& chunk) const;
  Result<Part> Take(const Chunk& chunk, Outcome outcome);

  uint64_t ltx_bytes_max_;
  std::optional<Joined> joined_;
};

}  // namespace runnel::bus
