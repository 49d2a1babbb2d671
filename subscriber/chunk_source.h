// One large LTX, read chunk by chunk straight from the log: the decoder pulls, nothing is stored on the way.
#pragma once

#include <functional>
#include <optional>
#include <stop_token>
#include <string>

#include "bus/bus.h"
#include "bus/envelope.h"
#include "ltx/base/result.h"
#include "ltx/format/decoder.h"

namespace runnel::subscriber {

class ChunkSource : public ltx::ByteSource {
 public:
  // `first` is the chunk with index 0. The reader is borrowed until finished() or an error.
  ChunkSource(bus::LogReader& reader, bus::Envelope first, std::stop_token stop);

  // Errors: kGap when the next message is not the next chunk (the publisher died inside this LTX: interruption() holds
  // the message that came instead); the reader's own. Messages that are no envelopes are passed over.
  Result<size_t> Read(MutableBytes out) override;

  // The last chunk has been taken.
  bool finished() const { return last_; }
  // Header of the newest chunk taken; its position is that after the whole LTX once finished().
  const bus::Header& header() const { return header_; }
  bus::StreamSeq last_seq() const { return last_seq_; }
  const std::optional<bus::Message>& interruption() const { return interruption_; }

 private:
  Status Advance();

  bus::LogReader& reader_;
  std::stop_token stop_;
  bus::Header header_;
  bus::Entry entry_;
  std::string data_;
  size_t used_ = 0;
  uint32_t next_index_ = 1;
  bool last_ = false;
  bus::StreamSeq last_seq_;
  std::optional<bus::Message> interruption_;
};

}  // namespace runnel::subscriber
