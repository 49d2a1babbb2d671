// Reads one LTX file as a stream and believes nothing: every rule of the format is checked (also those the Go decoder
// lets through, FORMAT.md "Stricter than Go"), memory is one page and one compressed page. Mirror of encoder.h.
//
// A caller must not make any page visible before Finish() has returned: only then is the file checksum verified.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "ltx/base/bytes.h"
#include "ltx/base/result.h"
#include "ltx/format/checksum.h"
#include "ltx/format/header.h"

namespace runnel::ltx {

// Where encoded bytes come from.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  // Fills a prefix of `out`, at least one byte unless the end is reached; returns how many, 0 at the end.
  virtual Result<size_t> Read(MutableBytes out) = 0;
  // All bytes that are still to be read, if they lie in memory anyway: whoever can use them there saves copying. Taking
  // them leaves the source as it is. LIFETIME: as the source says.
  virtual std::optional<Bytes> Whole() const { return std::nullopt; }
};

class BytesSource : public ByteSource {
 public:
  explicit BytesSource(Bytes bytes) : rest_(bytes) {}
  Result<size_t> Read(MutableBytes out) override;
  std::optional<Bytes> Whole() const override { return rest_; }

 private:
  Bytes rest_;
};

struct Page {
  Pgno pgno;
  Bytes data;  // valid until the next call on the decoder
};

// REQUIRES: Begin, then Next until it yields nullopt (or NextNumber and ReadInto in turn), then Finish. After an error
// the decoder is dead: every call yields kInvalid, as a call out of order does. Errors of all: kCorrupt with what and
// where; the source's own errors as they are. Owned by one thread. Reads ahead: the source must hold this one file and
// nothing else. A file that lies in memory is read where it is.
class Decoder {
 public:
  // The source, and the bytes it holds, must outlive the decoder.
  explicit Decoder(ByteSource& source);
  ~Decoder();
  Decoder(Decoder&&) noexcept;

  Result<Header> Begin();
  // The next page, ascending; nullopt after the last one.
  Result<std::optional<Page>> Next();
  // The same in two steps, for a caller with a place of its own for the page: first its number, 0 after the last one;
  // then the page. REQUIRES: `page` has the file's page size.
  Result<Pgno> NextNumber();
  Status ReadInto(MutableBytes page);
  // Reads index and trailer, verifies index, file checksum, and that nothing follows; for snapshots that track
  // checksums also the post-apply checksum.
  Result<Trailer> Finish();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace runnel::ltx
