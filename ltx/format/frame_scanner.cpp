#include "ltx/format/frame_scanner.h"

#include <algorithm>
#include <string>
#include <utility>

#include "ltx/base/check.h"

namespace runnel::ltx {

void FrameScanner::Give(Bytes piece) {
  CHECK(piece_.empty(), "the piece before has been used up");
  piece_ = piece;
}

Error FrameScanner::Corrupt(const std::string& what) const {
  return Error(Errc::kCorrupt, "ltx at byte " + std::to_string(offset_) + ": " + what);
}

bool FrameScanner::Gather(size_t size) {
  const size_t more = std::min(size - std::min(size, carry_.size()), piece_.size());
  carry_.insert(carry_.end(), piece_.begin(), piece_.begin() + more);
  piece_ = piece_.subspan(more);
  offset_ += more;
  return carry_.size() >= size;
}

Status FrameScanner::TakeHeader() {
  head_crc_.Update(carry_);
  TRY_ASSIGN(header_, DecodeHeader(carry_));
  rules_ = FrameRules(*header_);
  carry_.clear();
  state_ = State::kPages;
  return Ok();
}

Result<std::optional<FrameScanner::Frame>> FrameScanner::Next() {
  if (std::exchange(carry_used_, false)) carry_.clear();
  if (state_ == State::kHeader) {
    if (!Gather(kHeaderBytes)) return std::optional<Frame>();
    TRY(TakeHeader());
  }
  if (state_ == State::kPages) {
    TRY_ASSIGN(std::optional<Frame> frame, TakeFrame());
    if (frame || state_ == State::kPages) return frame;
  }
  if (state_ == State::kIndex) SkipIndex();
  if (state_ == State::kIndexEnd && Gather(FrameRules::kIndexEndBytes)) TRY(TakeIndexEnd());
  if (state_ == State::kTrailer && Gather(kTrailerBytes)) {
    trailer_ = {Checksum(LoadBe64(carry_.data())), LoadBe64(carry_.data() + 8)};
    tail_crc_.Update(Bytes(carry_).first(8));
    tail_bytes_ += 8;
    carry_.clear();
    state_ = State::kEnd;
  }
  if (state_ == State::kEnd && !piece_.empty()) return Corrupt("bytes after the trailer");
  return std::optional<Frame>();
}

// A frame that lies in the piece as a whole is handed out there; one that straddles pieces is gathered.
Result<std::optional<FrameScanner::Frame>> FrameScanner::TakeFrame() {
  if (carry_.empty()) {
    Result<size_t> need = FrameBytesNeeded(piece_, header_->page_size);
    if (!need.ok()) return Corrupt(need.error().message());
    if (*need <= piece_.size()) {
      const Bytes bytes = piece_.first(*need);
      piece_ = piece_.subspan(*need);
      offset_ += *need;
      return FrameOf(bytes, true);
    }
  }
  while (true) {
    Result<size_t> need = FrameBytesNeeded(carry_, header_->page_size);
    if (!need.ok()) return Corrupt(need.error().message());
    if (*need <= carry_.size()) break;
    if (!Gather(*need)) return std::optional<Frame>();
  }
  carry_used_ = true;
  TRY_ASSIGN(std::optional<Frame> frame, FrameOf(carry_, false));
  if (!frame) {  // the end marker
    carry_used_ = false;
    carry_.clear();
  }
  return frame;
}

Result<std::optional<FrameScanner::Frame>> FrameScanner::FrameOf(Bytes bytes, bool in_piece) {
  const Pgno pgno(LoadBe32(bytes.data()));
  Status allowed = pgno == Pgno() ? rules_.Complete() : rules_.Check(pgno);
  if (!allowed.ok()) return Corrupt(allowed.error().message());
  if (pgno == Pgno()) {
    tail_crc_.Update(bytes);
    tail_bytes_ += bytes.size();
    state_ = State::kIndex;
    return std::optional<Frame>();
  }
  rules_.Add(pgno, offset_ - bytes.size(), bytes.size());
  return std::optional<Frame>(Frame{pgno, bytes, in_piece});
}

void FrameScanner::SkipIndex() {
  const uint64_t size = std::min<uint64_t>(rules_.index_bytes() - index_taken_, piece_.size());
  const Bytes bytes = piece_.first(size);
  index_crc_.Update(bytes);
  tail_crc_.Update(bytes);
  tail_bytes_ += size;
  index_taken_ += size;
  piece_ = piece_.subspan(size);
  offset_ += size;
  if (index_taken_ == rules_.index_bytes()) state_ = State::kIndexEnd;
}

Status FrameScanner::TakeIndexEnd() {
  if (index_crc_.value() != rules_.index_crc()) return Corrupt("page index is not that of the pages");
  if (Status end = rules_.CheckIndexEnd(carry_); !end.ok()) return Corrupt(end.error().message());
  tail_crc_.Update(carry_);
  tail_bytes_ += carry_.size();
  carry_.clear();
  state_ = State::kTrailer;
  return Ok();
}

Result<Trailer> FrameScanner::Finish(const FrameSum& frames) {
  if (state_ != State::kEnd) {
    return Error(Errc::kCorrupt, "ltx ends at byte " + std::to_string(offset_ + piece_.size()) +
                                     (header_ ? ", not whole" : " within the header"));
  }
  uint64_t crc = JoinCrc64(head_crc_.value(), frames.crc, frames.bytes);
  crc = Checksum::kFlag | JoinCrc64(crc, tail_crc_.value(), tail_bytes_);
  if (trailer_.file_checksum != crc) {
    return Corrupt("file checksum " + ToString(Checksum(trailer_.file_checksum)) + " instead of " +
                   ToString(Checksum(crc)));
  }
  TRY(Validate(*header_, trailer_));
  return trailer_;
}

Result<Checksum> FrameDecoder::Decode(const FrameScanner::Frame& frame, MutableBytes page) {
  const bool block = (LoadBe16(frame.bytes.data() + 4) & kPageFlagBlock) != 0;
  const size_t head_bytes = block ? kFrameHeaderBytes : kPageHeaderBytes;
  const Bytes body = frame.bytes.subspan(head_bytes);
  auto decompress = [&]() -> Status {
    if (block) return DecompressBlock(body, page);
    legacy_.Start(page);
    TRY_ASSIGN(size_t taken, legacy_.Feed(body));
    if (legacy_.complete() && taken == body.size()) return Ok();
    return Error(Errc::kCorrupt, "lz4 frame is not as long as its blocks say");
  };
  if (Status done = decompress(); !done.ok()) return done.error().With("page " + std::to_string(frame.pgno.raw()));
  // The page is summed up once, for the file's sum and for its own.
  Crc64 page_crc;
  page_crc.Update(page);
  Crc64 head_crc;
  head_crc.Update(frame.bytes.first(head_bytes));
  const uint64_t head = JoinCrc64(sum_.crc, head_crc.value(), head_bytes);
  sum_.crc = page_joiner_.Join(head, page_crc.value());
  sum_.bytes += head_bytes + page.size();
  Crc64 pgno_crc;
  pgno_crc.Update(frame.bytes.first(4));
  return Checksum(Checksum::kFlag | pgno_joiner_.Join(pgno_crc.value(), page_crc.value()));
}

}  // namespace runnel::ltx
