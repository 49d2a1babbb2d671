// Random access to the pages of one LTX file: the page index is read from the file's tail, then a page costs one read
// of its frame. For what wants few pages of a large file (repairing one page of a replica from an archive).
//
// It is checked that header and index are sound by themselves, that frames lie end to end, and that a frame is the one
// the index names. What only a reading of the whole file can tell is not: the file checksum. Check a page by its own
// checksum (page table) before it is believed.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "ltx/base/bytes.h"
#include "ltx/base/result.h"
#include "ltx/format/header.h"

namespace runnel::ltx {

// Bytes that can be read anywhere: a file, an object in a store.
class RandomSource {
 public:
  virtual ~RandomSource() = default;
  virtual uint64_t size() const = 0;
  // Fills all of `out`. REQUIRES: offset + out.size() <= size().
  virtual Status ReadAt(uint64_t offset, MutableBytes out) = 0;
};

class RandomBytesSource : public RandomSource {
 public:
  explicit RandomBytesSource(Bytes bytes) : bytes_(bytes) {}
  uint64_t size() const override { return bytes_.size(); }
  Status ReadAt(uint64_t offset, MutableBytes out) override;

 private:
  Bytes bytes_;
};

// Owned by one thread; memory is 16 bytes a page of the file.
class IndexReader {
 public:
  struct Frame {
    uint64_t offset;  // in the file, of the frame's first byte
    uint32_t bytes;
    Pgno pgno;
  };

  // Reads the header, and the tail of the file by one read of at most 32 KiB (what Litestream asks for too), a second
  // one if the index is longer. The source must outlive the reader. Errors: kCorrupt; the source's own.
  static Result<IndexReader> Open(RandomSource& source);

  const Header& header() const { return header_; }
  const Trailer& trailer() const { return trailer_; }           // as stored: the file checksum is not verified
  const std::vector<Frame>& frames() const { return frames_; }  // by ascending page number

  std::optional<Frame> Find(Pgno pgno) const;
  // Fills `page`. REQUIRES: `frame` is one of frames(), page is header().page_size bytes long.
  // Errors: kCorrupt when the bytes there are not this page; the source's own.
  Status ReadPage(const Frame& frame, MutableBytes page);

 private:
  explicit IndexReader(RandomSource& source) : source_(&source) {}
  Status ReadHeader();
  Status ReadIndex();
  Status ParseIndex(Bytes index);
  Status AddFrame(uint64_t pgno, uint64_t offset, uint64_t bytes, uint64_t frames_end);

  RandomSource* source_;
  Header header_;
  Trailer trailer_;
  std::vector<Frame> frames_;
  std::vector<std::byte> buffer_;
};

}  // namespace runnel::ltx
