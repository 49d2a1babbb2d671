#include "ltx/format/index_reader.h"

#include <algorithm>
#include <string>

#include "ltx/base/check.h"
#include "ltx/format/page_frame.h"

namespace runnel::ltx {
namespace {

constexpr uint64_t kTailBytesFirst = 32 * 1024;
constexpr uint64_t kIndexSizeBytes = 8;
// What follows the index entries: their end (one byte), the index size, the trailer.
constexpr uint64_t kAfterIndexBytes = kIndexSizeBytes + kTrailerBytes;

Error Corrupt(std::string what) { return Error(Errc::kCorrupt, "ltx index: " + std::move(what)); }

}  // namespace

Status RandomBytesSource::ReadAt(uint64_t offset, MutableBytes out) {
  CHECK(offset <= bytes_.size(), "within the bytes");
  CHECK(out.size() <= bytes_.size() - offset, "within the bytes");
  std::copy_n(bytes_.data() + offset, out.size(), out.data());
  return Ok();
}

Result<IndexReader> IndexReader::Open(RandomSource& source) {
  IndexReader reader(source);
  TRY(reader.ReadHeader());
  TRY(reader.ReadIndex());
  return reader;
}

Status IndexReader::ReadHeader() {
  if (source_->size() < kFileBytesMin) return Corrupt("a file of " + std::to_string(source_->size()) + " bytes");
  std::byte bytes[kHeaderBytes];
  TRY(source_->ReadAt(0, bytes));
  TRY_ASSIGN(header_, DecodeHeader(bytes));
  return Ok();
}

Status IndexReader::ReadIndex() {
  const uint64_t size = source_->size();
  const uint64_t tail_bytes = std::min(size - kHeaderBytes, kTailBytesFirst);
  std::vector<std::byte> tail(tail_bytes);
  TRY(source_->ReadAt(size - tail_bytes, tail));
  const std::byte* trailer = tail.data() + tail_bytes - kTrailerBytes;
  trailer_ = {Checksum(LoadBe64(trailer)), LoadBe64(trailer + 8)};
  TRY(Validate(header_, trailer_));
  const uint64_t index_bytes = LoadBe64(trailer - kIndexSizeBytes);
  const uint64_t room = size - kHeaderBytes - kPageHeaderBytes - kAfterIndexBytes;
  if (index_bytes == 0 || index_bytes > room) return Corrupt("size " + std::to_string(index_bytes));
  if (index_bytes + kAfterIndexBytes > tail_bytes) {
    tail.resize(index_bytes);
    TRY(source_->ReadAt(size - kAfterIndexBytes - index_bytes, tail));
    return ParseIndex(tail);
  }
  return ParseIndex(Bytes(tail).subspan(tail_bytes - kAfterIndexBytes - index_bytes, index_bytes));
}

Status IndexReader::ParseIndex(Bytes index) {
  const uint64_t frames_end = source_->size() - kAfterIndexBytes - index.size() - kPageHeaderBytes;
  Bytes rest = index.first(index.size() - 1);
  if (index.back() != std::byte{0}) return Corrupt("no end");
  while (!rest.empty()) {
    uint64_t pgno = 0;
    uint64_t offset = 0;
    uint64_t bytes = 0;
    if (!TakeUvarint(rest, pgno) || !TakeUvarint(rest, offset) || !TakeUvarint(rest, bytes)) {
      return Corrupt("a broken entry");
    }
    TRY(AddFrame(pgno, offset, bytes, frames_end));
  }
  const uint64_t end = frames_.empty() ? kHeaderBytes : frames_.back().offset + frames_.back().bytes;
  if (end != frames_end) {
    return Corrupt("frames end at " + std::to_string(end) + " instead of " + std::to_string(frames_end));
  }
  const Pgno last = frames_.empty() ? Pgno() : frames_.back().pgno;
  if (header_.IsSnapshot() && last != header_.LastPage()) return Corrupt("a snapshot without its last page");
  return Ok();
}

Status IndexReader::AddFrame(uint64_t pgno, uint64_t offset, uint64_t bytes, uint64_t frames_end) {
  auto refuse = [pgno](const std::string& why) { return Corrupt("page " + std::to_string(pgno) + " " + why); };
  const uint64_t last = frames_.empty() ? 0 : frames_.back().pgno.raw();
  const uint64_t lock_page = LockPage(header_.page_size).raw();
  if (pgno <= last || pgno > header_.commit || pgno == lock_page) {
    return refuse("after page " + std::to_string(last));
  }
  const uint64_t next = last + 1 == lock_page ? last + 2 : last + 1;
  if (header_.IsSnapshot() && pgno != next) return Corrupt("a snapshot without page " + std::to_string(next));
  const uint64_t expected = frames_.empty() ? kHeaderBytes : frames_.back().offset + frames_.back().bytes;
  const uint64_t bytes_max = std::max(FrameBytesMax(header_.page_size), LegacyFrameBytesMax(header_.page_size));
  if (offset != expected) return refuse("at " + std::to_string(offset) + " instead of " + std::to_string(expected));
  if (bytes <= kPageHeaderBytes || bytes > bytes_max || bytes > frames_end - offset) {
    return refuse("of " + std::to_string(bytes) + " bytes");
  }
  frames_.push_back({offset, static_cast<uint32_t>(bytes), Pgno(static_cast<uint32_t>(pgno))});
  return Ok();
}

std::optional<IndexReader::Frame> IndexReader::Find(Pgno pgno) const {
  auto found = std::lower_bound(frames_.begin(), frames_.end(), pgno,
                                [](const Frame& frame, Pgno wanted) { return frame.pgno < wanted; });
  if (found == frames_.end() || found->pgno != pgno) return std::nullopt;
  return *found;
}

Status IndexReader::ReadPage(const Frame& frame, MutableBytes page) {
  CHECK(page.size() == header_.page_size.raw(), "one page");
  const std::string name = "page " + std::to_string(frame.pgno.raw());
  buffer_.resize(frame.bytes);
  TRY(source_->ReadAt(frame.offset, buffer_));
  const Pgno pgno(LoadBe32(buffer_.data()));
  const uint16_t flags = LoadBe16(buffer_.data() + 4);
  if (pgno != frame.pgno) return Corrupt(name + ": page " + std::to_string(pgno.raw()) + " is there");
  const Bytes body = Bytes(buffer_).subspan(kPageHeaderBytes);
  if (flags == kPageFlagBlock) {
    constexpr size_t kSizeBytes = kFrameHeaderBytes - kPageHeaderBytes;
    if (body.size() < kSizeBytes || LoadBe32(body.data()) != body.size() - kSizeBytes) {
      return Corrupt(name + ": not as long as the index says");
    }
    Status done = DecompressBlock(body.subspan(kSizeBytes), page);
    return done.ok() ? Ok() : Status(done.error().With(name));
  }
  if (flags != 0) return Corrupt(name + ": unknown page flags " + std::to_string(flags));
  LegacyFrame legacy;
  legacy.Start(page);
  TRY_ASSIGN(size_t taken, legacy.Feed(body));
  if (!legacy.complete() || taken != body.size()) return Corrupt(name + ": not as long as the index says");
  return Ok();
}

}  // namespace runnel::ltx
