// Writes one LTX file as a stream: header, pages in ascending order, page index, trailer. Memory is one page and its
// compressed form plus about 8 bytes a page for the index. Mirror of decoder.h.
#pragma once

#include <cstdint>
#include <string>

#include "ltx/base/bytes.h"
#include "ltx/base/result.h"
#include "ltx/format/checksum.h"
#include "ltx/format/header.h"

namespace runnel::ltx {

// Where encoded bytes go. Bytes are borrowed for the call.
class ByteSink {
 public:
  virtual ~ByteSink() = default;
  virtual Status Write(Bytes bytes) = 0;
};

class StringSink : public ByteSink {
 public:
  Status Write(Bytes bytes) override {
    out_.append(AsText(bytes));
    return Ok();
  }
  std::string Take() { return std::move(out_); }

 private:
  std::string out_;
};

// REQUIRES: calls in the order Begin, AddPage*, Finish; after an error the encoder is dead.
class Encoder {
 public:
  // The sink must outlive the encoder.
  explicit Encoder(ByteSink& sink);

  Status Begin(const Header& header);
  // Errors: kInvalid for a page out of order, beyond commit, of wrong size, or the lock page (rules of section 2.6).
  Status AddPage(Pgno pgno, Bytes page);
  // `post_apply_checksum` is ignored (written 0) when the header says no_checksum.
  Result<Trailer> Finish(Checksum post_apply_checksum);

  uint64_t bytes_written() const { return offset_; }

 private:
  Status Put(Bytes bytes, bool hash);

  ByteSink& sink_;
  Header header_;
  Crc64 crc_;
  std::string index_;
  std::string compressed_;
  uint64_t offset_ = 0;
  Pgno last_pgno_;
  enum class State { kNew, kPages, kDone } state_ = State::kNew;
};

}  // namespace runnel::ltx
