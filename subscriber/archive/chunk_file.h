// One LTX that is larger than a message, read chunk by chunk straight from the log.
#pragma once

#include <optional>
#include <stop_token>
#include <string>

#include "bus/bus.h"
#include "bus/chunker.h"
#include "bus/envelope.h"
#include "ltx/base/result.h"
#include "ltx/format/decoder.h"

namespace runnel::archive {

class ChunkFile : public ltx::ByteSource {
 public:
  // `first` is the chunk with index 0. The reader is borrowed until finished() or an error.
  ChunkFile(bus::LogReader& reader, bus::StreamSeq seq, bus::Envelope first, std::stop_token stop);

  // Errors: kGap when the file breaks off (its publisher died inside it): interruption() is the message that came
  // instead, to be handled next; the reader's own.
  Result<size_t> Read(MutableBytes out) override;

  bool finished() const { return last_; }
  bus::StreamSeq last_seq() const { return last_seq_; }
  std::optional<bus::Message> TakeInterruption() { return std::exchange(interruption_, std::nullopt); }

 private:
  Status Advance();
  Status Interrupted(bus::Message message);

  bus::LogReader& reader_;
  const std::stop_token stop_;
  const bus::Header header_;
  bus::ChunkJoiner joiner_;
  bus::Envelope current_;
  std::string_view data_;  // of current_, not read yet
  bool last_ = false;
  bool failed_ = false;
  bus::StreamSeq last_seq_;
  std::optional<bus::Message> interruption_;
};

}  // namespace runnel::archive
