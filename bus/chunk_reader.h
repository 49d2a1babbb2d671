// One LTX that is larger than a message, read chunk by chunk straight from the log: a decoder pulls, nothing is stored
// on the way. What has been read counts only when finished() is true: its publisher may have died inside it.
#pragma once

#include <optional>
#include <stop_token>
#include <string_view>
#include <utility>

#include "bus/bus.h"
#include "bus/chunker.h"
#include "bus/envelope.h"
#include "ltx/base/result.h"
#include "ltx/format/decoder.h"

namespace runnel::bus {

// THREAD: one. LIFETIME: the reader is borrowed until finished() or an error; then it stands behind the last message
// that was taken.
class ChunkReader : public ltx::ByteSource {
 public:
  // `first`, of message `seq`, is the chunk with index 0.
  ChunkReader(LogReader& reader, StreamSeq seq, Envelope first, std::stop_token stop);

  // Passed over are heartbeats, repeated chunks, what an older epoch sends, and messages that are no envelopes.
  // Errors: kGap when the file breaks off: TakeInterruption() has the message that came instead, to be handled next;
  // kCorrupt when the chunks do not agree about its size; kUnavailable when no more come; the reader's own.
  Result<size_t> Read(MutableBytes out) override;

  // The last chunk has been taken.
  bool finished() const { return last_; }
  StreamSeq last_seq() const { return last_seq_; }  // of the newest message taken, whatever it was
  std::optional<Message> TakeInterruption() { return std::exchange(interruption_, std::nullopt); }

 private:
  Status Advance();
  Status Interrupted(Message message);

  LogReader& reader_;
  const std::stop_token stop_;
  const Header header_;  // of the first chunk
  ChunkJoiner joiner_;
  Envelope current_;
  std::string_view data_;  // of current_, not read yet
  bool last_ = false;
  Status failed_ = Ok();
  StreamSeq last_seq_;
  std::optional<Message> interruption_;
};

}  // namespace runnel::bus
