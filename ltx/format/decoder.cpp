#include "ltx/format/decoder.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "ltx/base/check.h"
#include "ltx/format/frame_rules.h"
#include "ltx/format/page_frame.h"

namespace runnel::ltx {
namespace {

// Read ahead beyond one frame, so that a small file is one Read and a large one few.
constexpr size_t kReadAheadBytes = 8192;
constexpr size_t kIndexPieceBytes = 512;

// The bytes of one file, in order, as pieces that do not straddle reads.
class Input {
 public:
  explicit Input(ByteSource& source) : source_(source), in_memory_(source.Whole().has_value()) {
    if (!in_memory_) return;
    bytes_ = *source.Whole();
    end_ = bytes_.size();
  }

  // Nothing has to be read: SetBuffer is not needed.
  bool in_memory() const { return in_memory_; }

  // Memory to read into; what is buffered is dropped. Called before anything but a first exact read.
  void SetBuffer(MutableBytes buffer) {
    buffer_ = buffer;
    bytes_ = buffer;
    begin_ = end_ = 0;
  }

  // The next `size` bytes, valid until the next call. REQUIRES: size <= buffer.
  Result<Bytes> Take(size_t size, std::string_view what) {
    if (end_ - begin_ < size) TRY(Fill(size, what));
    Bytes taken = bytes_.subspan(begin_, size);
    Skip(size);
    return taken;
  }
  // At least one byte, without taking it.
  Result<Bytes> Peek(std::string_view what) {
    if (begin_ == end_) TRY(Fill(1, what));
    return bytes_.subspan(begin_, end_ - begin_);
  }
  void Skip(size_t size) {
    begin_ += size;
    offset_ += size;
  }
  Result<bool> AtEnd() {
    if (begin_ != end_) return false;
    if (in_memory_) return true;
    TRY_ASSIGN(size_t got, source_.Read(buffer_));
    return got == 0;
  }
  // Of the next byte within the file.
  uint64_t offset() const { return offset_; }

 private:
  Status Fill(size_t size, std::string_view what) {
    if (in_memory_) return EndsWithin(what);
    CHECK(size <= buffer_.size(), "larger than any piece of the format");
    std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
    while (end_ < size) {
      TRY_ASSIGN(size_t got, source_.Read(buffer_.subspan(end_)));
      CHECK(got <= buffer_.size() - end_, "a source returns no more than was asked");
      if (got == 0) return EndsWithin(what);
      end_ += got;
    }
    return Ok();
  }
  Error EndsWithin(std::string_view what) const {
    return Error(Errc::kCorrupt,
                 "ltx ends at byte " + std::to_string(offset_ + end_ - begin_) + " within the " + std::string(what));
  }

  ByteSource& source_;
  const bool in_memory_;
  MutableBytes buffer_;
  Bytes bytes_;  // the buffer, or the file
  size_t begin_ = 0;
  size_t end_ = 0;
  uint64_t offset_ = 0;
};

}  // namespace

Result<size_t> BytesSource::Read(MutableBytes out) {
  const size_t size = std::min(out.size(), rest_.size());
  if (size != 0) std::memcpy(out.data(), rest_.data(), size);
  rest_ = rest_.subspan(size);
  return size;
}

class Decoder::Impl {
 public:
  enum class State { kNew, kPages, kPage, kTail, kDead };  // kPage: its number was told, its bytes were not

  explicit Impl(ByteSource& source) : input_(source) {}

  Result<Header> ReadHeader();
  Result<Pgno> ReadNumber();
  Status ReadPage(MutableBytes page);
  MutableBytes own_page();
  size_t page_bytes() const { return header_.page_size.raw(); }
  Result<Trailer> ReadTail();

  State state = State::kNew;

 private:
  Status ReadBlock(MutableBytes page);
  Status ReadLegacyFrame(MutableBytes page);
  Status ReadIndex();
  // Adds bytes of the file to its sum: those that lie one behind the other in memory at once, a sum has its price.
  void Sum(Bytes bytes);
  void SumDue() { crc_.Update(std::exchange(due_, Bytes())); }
  // Says where in the file a rule was broken.
  Status Located(Status status) const { return status.ok() ? Ok() : Status(Corrupt(status.error().message())); }
  Error Corrupt(std::string what) const {
    return Error(Errc::kCorrupt, "ltx at byte " + std::to_string(input_.offset()) + ": " + std::move(what));
  }

  Input input_;
  Header header_;
  std::unique_ptr<std::byte[]> memory_;  // one page, then the input's buffer; none if a file in memory needs neither
  std::byte page_header_[kPageHeaderBytes] = {};
  Pgno pgno_;
  uint64_t frame_offset_ = 0;
  FrameRules rules_;
  Crc64 crc_;                         // of the file, without what is due
  Bytes due_;                         // bytes of the file, if it is in memory: summed up with those that follow them
  Checksum sum_ = Checksum::Empty();  // of a snapshot's pages
  LegacyFrame legacy_;
};

void Decoder::Impl::Sum(Bytes bytes) {
  if (!input_.in_memory()) return crc_.Update(bytes);
  if (due_.data() + due_.size() == bytes.data()) {
    due_ = {due_.data(), due_.size() + bytes.size()};
  } else {
    SumDue();
    due_ = bytes;
  }
}

Result<Header> Decoder::Impl::ReadHeader() {
  std::byte first[kHeaderBytes];
  if (!input_.in_memory()) input_.SetBuffer(first);
  TRY_ASSIGN(Bytes bytes, input_.Take(kHeaderBytes, "header"));
  Sum(bytes);
  TRY_ASSIGN(header_, DecodeHeader(bytes));
  rules_ = FrameRules(header_);
  if (input_.in_memory()) return header_;
  const size_t buffer_bytes = FrameBytesMax(header_.page_size) + kReadAheadBytes;
  memory_ = std::make_unique_for_overwrite<std::byte[]>(page_bytes() + buffer_bytes);
  input_.SetBuffer({memory_.get() + page_bytes(), buffer_bytes});
  return header_;
}

MutableBytes Decoder::Impl::own_page() {
  if (memory_ == nullptr) memory_ = std::make_unique_for_overwrite<std::byte[]>(page_bytes());
  return {memory_.get(), page_bytes()};
}

Status Decoder::Impl::ReadBlock(MutableBytes page) {
  TRY_ASSIGN(Bytes size, input_.Take(kFrameHeaderBytes - kPageHeaderBytes, "page header"));
  Sum(size);
  const uint32_t block_bytes = LoadBe32(size.data());
  if (block_bytes == 0 || block_bytes > BlockBytesMax(header_.page_size)) {
    return Corrupt("compressed page of " + std::to_string(block_bytes) + " bytes");
  }
  TRY_ASSIGN(Bytes block, input_.Take(block_bytes, "page"));
  if (Status done = DecompressBlock(block, page); !done.ok()) return Corrupt(done.error().message());
  return Ok();
}

Status Decoder::Impl::ReadLegacyFrame(MutableBytes page) {
  legacy_.Start(page);
  while (!legacy_.complete()) {
    TRY_ASSIGN(Bytes bytes, input_.Peek("page"));
    Result<size_t> taken = legacy_.Feed(bytes);
    if (!taken.ok()) return Corrupt(taken.error().message());
    input_.Skip(*taken);
  }
  return Ok();
}

// 0 behind the last page.
Result<Pgno> Decoder::Impl::ReadNumber() {
  frame_offset_ = input_.offset();
  TRY_ASSIGN(Bytes taken, input_.Take(kPageHeaderBytes, "page header"));
  std::copy(taken.begin(), taken.end(), page_header_);
  Sum(taken);
  pgno_ = Pgno(LoadBe32(page_header_));
  const uint16_t flags = LoadBe16(page_header_ + 4);
  if (pgno_ == Pgno()) {
    if (flags != 0) return Corrupt("page number 0");
    TRY(Located(rules_.Complete()));
    return pgno_;
  }
  if ((flags & ~kPageFlagBlock) != 0) return Corrupt("unknown page flags " + std::to_string(flags));
  TRY(Located(rules_.Check(pgno_)));
  return pgno_;
}

Status Decoder::Impl::ReadPage(MutableBytes page) {
  TRY(LoadBe16(page_header_ + 4) == kPageFlagBlock ? ReadBlock(page) : ReadLegacyFrame(page));
  SumDue();
  crc_.Update(page);
  rules_.Add(pgno_, frame_offset_, input_.offset() - frame_offset_);
  if (header_.IsSnapshot() && !header_.no_checksum) sum_ = sum_.Toggle(PageChecksum(pgno_, page));
  return Ok();
}

// The frames have already said what the index must be: its length is known, and its bytes are compared as they are, or
// those of a long one by their CRC.
Status Decoder::Impl::ReadIndex() {
  const std::optional<Bytes> known = rules_.short_index();
  static_assert(FrameRules::kShortIndexBytesMax <= kIndexPieceBytes);
  Crc64 index_crc;
  bool same = true;
  for (uint64_t rest = rules_.index_bytes(); rest > 0;) {
    const size_t size = std::min<uint64_t>(rest, kIndexPieceBytes);
    TRY_ASSIGN(Bytes piece, input_.Take(size, "page index"));
    if (known) {
      same = AsText(piece) == AsText(*known);
    } else {
      index_crc.Update(piece);
    }
    Sum(piece);
    rest -= size;
  }
  if (!known) same = index_crc.value() == rules_.index_crc();
  if (!same) return Corrupt("page index is not that of the pages");
  TRY_ASSIGN(Bytes end, input_.Take(FrameRules::kIndexEndBytes, "page index"));
  TRY(Located(rules_.CheckIndexEnd(end)));
  Sum(end);
  return Ok();
}

Result<Trailer> Decoder::Impl::ReadTail() {
  TRY(ReadIndex());
  TRY_ASSIGN(Bytes bytes, input_.Take(kTrailerBytes, "trailer"));
  Trailer trailer{Checksum(LoadBe64(bytes.data())), LoadBe64(bytes.data() + 8)};
  Sum(bytes.first(8));
  SumDue();
  TRY_ASSIGN(bool at_end, input_.AtEnd());
  if (!at_end) return Corrupt("bytes after the trailer");
  const uint64_t expected = Checksum::kFlag | crc_.value();
  if (trailer.file_checksum != expected) {
    return Corrupt("file checksum " + ToString(Checksum(trailer.file_checksum)) + " instead of " +
                   ToString(Checksum(expected)));
  }
  TRY(Validate(header_, trailer));
  if (header_.IsSnapshot() && !header_.no_checksum && trailer.post_apply_checksum != sum_) {
    return Corrupt("post-apply checksum " + ToString(trailer.post_apply_checksum) + " of pages with " + ToString(sum_));
  }
  return trailer;
}

Decoder::Decoder(ByteSource& source) : impl_(std::make_unique<Impl>(source)) {}
Decoder::~Decoder() = default;
Decoder::Decoder(Decoder&&) noexcept = default;

Result<Header> Decoder::Begin() {
  if (impl_->state != Impl::State::kNew) return Error(Errc::kInvalid, "ltx decoder: Begin out of order");
  impl_->state = Impl::State::kDead;
  TRY_ASSIGN(Header header, impl_->ReadHeader());
  impl_->state = Impl::State::kPages;
  return header;
}

Result<Pgno> Decoder::NextNumber() {
  if (impl_->state != Impl::State::kPages) return Error(Errc::kInvalid, "ltx decoder: Next out of order");
  impl_->state = Impl::State::kDead;
  TRY_ASSIGN(Pgno pgno, impl_->ReadNumber());
  impl_->state = pgno == Pgno() ? Impl::State::kTail : Impl::State::kPage;
  return pgno;
}

Status Decoder::ReadInto(MutableBytes page) {
  if (impl_->state != Impl::State::kPage) return Error(Errc::kInvalid, "ltx decoder: ReadInto out of order");
  impl_->state = Impl::State::kDead;
  CHECK(page.size() == impl_->page_bytes(), "room for a page of the file");
  TRY(impl_->ReadPage(page));
  impl_->state = Impl::State::kPages;
  return Ok();
}

Result<std::optional<Page>> Decoder::Next() {
  TRY_ASSIGN(Pgno pgno, NextNumber());
  if (pgno == Pgno()) return std::optional<Page>();
  const MutableBytes page = impl_->own_page();
  TRY(ReadInto(page));
  return std::optional<Page>(Page{pgno, page});
}

Result<Trailer> Decoder::Finish() {
  if (impl_->state != Impl::State::kTail) return Error(Errc::kInvalid, "ltx decoder: Finish out of order");
  impl_->state = Impl::State::kDead;
  return impl_->ReadTail();
}

}  // namespace runnel::ltx
