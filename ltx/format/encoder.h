// Writes one LTX file after another as streams: header, pages in ascending order, page index, trailer. Memory is one
// page's compressed form, LZ4's state, and about 3 bytes a page for the index; all of it is kept for the next file, so
// an encoder that is used again allocates nothing. Mirror of decoder.h.
//
// A page is compressed if that saves an eighth of it or more; else its bytes stand as they are in one run of literals,
// which LZ4's decoders copy ten times as fast as they decompress the little that can be found in such pages. After
// sixteen such pages only every sixteenth one is tried, until one can be compressed again; what was learnt counts for
// the next file too.
//
// The sink sees one Write for the header, one a page, and usually one for index and trailer together.
#pragma once

#include <cstdint>
#include <memory>
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
  const std::string& text() const { return out_; }
  void clear() { out_.clear(); }  // the memory is kept

 private:
  std::string out_;
};

// REQUIRES: calls in the order Begin, AddPage*, Finish. Begin may be called at any time and starts a new file, also
// after an error; what a file left unfinished has written is the sink owner's to discard. After an error only Begin is
// allowed: other calls yield kInvalid. Errors of all: kInvalid for a broken rule, the sink's own as they are.
// Owned by one thread.
class Encoder {
 public:
  // The sink must outlive the encoder.
  explicit Encoder(ByteSink& sink);
  ~Encoder();
  Encoder(const Encoder&) = delete;
  Encoder& operator=(const Encoder&) = delete;

  Status Begin(const Header& header);
  // Errors: kInvalid for a page out of order, beyond commit, of wrong size, or the lock page, and in a
  // snapshot for a page left out.
  Status AddPage(Pgno pgno, Bytes page);
  // `post_apply_checksum` is ignored (written 0) when the header says no_checksum.
  // Errors: kInvalid for a snapshot that does not end with its last page, and for a checksum the header does not allow.
  Result<Trailer> Finish(Checksum post_apply_checksum);

  // Of the file begun last.
  uint64_t bytes_written() const { return offset_; }

 private:
  struct Lz4State;
  enum class State { kClosed, kPages };

  Error Refusal(Pgno pgno, Bytes page) const;  // why the page cannot be added
  Status AddPageBytes(Pgno pgno, Bytes page);
  size_t StoreBlock(Bytes page, std::byte* out);  // returns its bytes
  Result<Trailer> WriteTail(Checksum post_apply_checksum);
  Status Write(Bytes bytes);
  Error Fail(Error error);

  ByteSink& sink_;
  const std::unique_ptr<Lz4State> lz4_;
  State state_ = State::kClosed;
  Header header_;
  Crc64 crc_;
  std::string frame_;  // one frame, later pieces of the tail
  std::string index_;  // a page: uvarint (pgno - previous pgno), uvarint frame bytes; offsets follow from the sizes
  uint64_t offset_ = 0;
  Pgno last_pgno_;
  uint32_t misses_ = 0;   // pages in a row that could not be compressed, to kMissesMax
  uint32_t untried_ = 0;  // pages since the last try, once there are so many misses
};

}  // namespace runnel::ltx
