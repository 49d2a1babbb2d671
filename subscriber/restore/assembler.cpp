#include "subscriber/restore/assembler.h"

#include <algorithm>
#include <deque>
#include <memory>
#include <string>
#include <utility>

#include "ltx/format/frame_scanner.h"
#include "subscriber/restore/decode_pool.h"

namespace runnel::restore {
namespace {

// A unit ends when its pages reach this.
constexpr uint64_t kUnitBytes = 256 << 10;
// Files that have been read but wait for their pages: a bound for archives of very many tiny files.
constexpr uint64_t kOpenFilesMax = 1024;
// A frame has at least this: its header, and a block of one byte.
constexpr uint64_t kFrameBytesMin = 11;

// Which pages have been claimed. REQUIRES: page numbers from 1 to page_count.
class Claims {
 public:
  Claims() = default;
  explicit Claims(uint32_t page_count) : words_(page_count / 64 + 1) {}

  // True for the first caller of each page.
  bool Claim(Pgno pgno) {
    uint64_t& word = words_[pgno.raw() / 64];
    const uint64_t bit = uint64_t{1} << (pgno.raw() % 64);
    if ((word & bit) != 0) return false;
    word |= bit;
    ++count_;
    return true;
  }
  bool Has(Pgno pgno) const { return (words_[pgno.raw() / 64] >> (pgno.raw() % 64) & 1) != 0; }
  uint32_t count() const { return count_; }

 private:
  std::vector<uint64_t> words_;
  uint32_t count_ = 0;
};

// One LTX file between its first byte and its verification.
struct OpenFile {
  const Part* part = nullptr;
  const std::string* key = nullptr;
  ltx::FrameScanner scanner;
  std::deque<Unit> units;   // a deque: the pool holds pointers
  uint64_t first_unit = 0;  // number of the first one
  uint64_t unit_count = 0;
};

class Assembler {
 public:
  Assembler(const std::vector<Piece>& pieces, ImageSink& sink, const AssembleOptions& options, std::stop_token stop)
      : pieces_(pieces), sink_(sink), options_(options), stop_(std::move(stop)) {
    for (const Piece& piece : pieces_) bytes_ += piece.bytes;
  }

  Result<AssembledImage> Run(BlockFetcher& fetcher);

 private:
  Status TakeBlock(const BlockFetcher::BlockPtr& block);
  Status TakeBytes(OpenFile& file, const BlockFetcher::BlockPtr& block, Bytes bytes);
  Status TakeHeader(const OpenFile& file);
  Status StartImage(const ltx::Header& header);
  void AddFrame(OpenFile& file, const BlockFetcher::BlockPtr& block, const ltx::FrameScanner::Frame& frame);
  Status GiveUnit(OpenFile& file);
  Status Settle(uint64_t open_max);
  Status Verify(OpenFile& file);
  Status CheckComplete() const;

  const std::vector<Piece>& pieces_;
  ImageSink& sink_;
  const AssembleOptions& options_;
  const std::stop_token stop_;
  uint64_t bytes_ = 0;  // of all pieces
  uint64_t scanned_ = 0;

  AssembledImage image_;
  Claims claims_;
  std::optional<Checksum> expected_;     // of the image, if the newest file tells or somebody has noted it
  const Part* newer_ = nullptr;          // the file before the current one
  std::optional<ltx::Header> verified_;  // of the file verified last
  Unit* unit_ = nullptr;                 // being filled
  uint64_t units_given_ = 0;
  std::deque<OpenFile> open_;         // the last one is being read
  std::unique_ptr<DecodePool> pool_;  // last: it uses units and image
};

// Several files in a block: only in pieces of one block, and then newest first, so not in the order of their bytes.
Status Assembler::TakeBlock(const BlockFetcher::BlockPtr& block) {
  const Piece& piece = pieces_[block->piece];
  const bool single = piece.parts.size() == 1;
  for (const Part& part : piece.parts) {
    if (!single || block->offset == 0) {
      open_.emplace_back();
      open_.back().part = &part;
      open_.back().key = &piece.key;
      open_.back().first_unit = units_given_;
    }
    const Bytes bytes = single ? block->bytes : block->bytes.subspan(part.offset - piece.offset, part.bytes);
    Status taken = TakeBytes(open_.back(), block, bytes);
    if (taken.ok()) taken = GiveUnit(open_.back());
    if (!taken.ok()) return taken;
  }
  scanned_ += block->bytes.size();
  if (options_.progress) options_.progress(scanned_);
  return Ok();
}

Status Assembler::TakeBytes(OpenFile& file, const BlockFetcher::BlockPtr& block, Bytes bytes) {
  const bool had_header = file.scanner.header().has_value();
  file.scanner.Give(bytes);
  bool checked = had_header;
  while (true) {
    Result<std::optional<ltx::FrameScanner::Frame>> frame = file.scanner.Next();
    if (!frame.ok()) return frame.error().With(*file.key);
    if (!checked && file.scanner.header()) {
      if (Status header = TakeHeader(file); !header.ok()) return header.error().With(*file.key);
      checked = true;
    }
    if (!*frame) return Ok();
    AddFrame(file, block, **frame);
    const bool full = unit_->frames.size() * uint64_t{image_.page_size.raw()} >= kUnitBytes;
    if (full || !(*frame)->in_piece) TRY(GiveUnit(file));
  }
}

Status Assembler::TakeHeader(const OpenFile& file) {
  const ltx::Header& header = *file.scanner.header();
  const Part& part = *file.part;
  if (header.min_txid != part.min_txid || header.max_txid != part.max_txid) {
    return Error(Errc::kCorrupt, "holds " + ltx::FileName(header.min_txid, header.max_txid) + " where " +
                                     ltx::FileName(part.min_txid, part.max_txid) + " should be");
  }
  if (newer_ == nullptr) {
    TRY(StartImage(header));
  } else if (header.page_size != image_.page_size) {
    return Error(Errc::kCorrupt, "has pages of " + std::to_string(header.page_size.raw()) +
                                     " bytes, and what follows it of " + std::to_string(image_.page_size.raw()));
  } else if (header.max_txid.Next() < newer_->min_txid || header.max_txid >= newer_->max_txid) {
    return Error(Errc::kGap, "does not lead to " + ltx::FileName(newer_->min_txid, newer_->max_txid));
  }
  newer_ = &part;
  image_.min_txid = header.min_txid;
  return Ok();
}

// The newest file says what the image will be.
Status Assembler::StartImage(const ltx::Header& header) {
  if (header.commit == 0 || header.commit - 1 > bytes_ / kFrameBytesMin) {
    return Error(Errc::kCorrupt, "a database of " + std::to_string(header.commit) + " pages cannot be made of " +
                                     std::to_string(bytes_) + " bytes");
  }
  image_.page_size = header.page_size;
  image_.page_count = header.commit;
  image_.position.txid = header.max_txid;
  image_.timestamp_ms = header.timestamp_ms;
  claims_ = Claims(header.commit);
  if (options_.keep_checksums) image_.checksums.resize(header.commit);
  TRY(sink_.Start(header.page_size, header.commit));
  DecodePool::Options pool;
  pool.threads = options_.decode_threads;
  pool.page_size = header.page_size;
  pool.checksums = options_.keep_checksums ? &image_.checksums : nullptr;
  pool_ = std::make_unique<DecodePool>(pool, sink_);
  return Ok();
}

void Assembler::AddFrame(OpenFile& file, const BlockFetcher::BlockPtr& block, const ltx::FrameScanner::Frame& frame) {
  if (unit_ == nullptr) {
    unit_ = &file.units.emplace_back();
    unit_->block = block;
  }
  const bool write = frame.pgno.raw() <= image_.page_count && claims_.Claim(frame.pgno);
  unit_->frames.push_back({frame, write});
  if (!frame.in_piece) {
    // It began in the block before, and so is the first of this one: it has the unit for itself.
    unit_->own.assign(frame.bytes.begin(), frame.bytes.end());
    unit_->frames.back().frame.bytes = unit_->own;
  }
}

Status Assembler::GiveUnit(OpenFile& file) {
  if (unit_ == nullptr) return Ok();
  TRY(pool_->Give(std::exchange(unit_, nullptr), stop_));
  ++file.unit_count;
  ++units_given_;
  return Settle(kOpenFilesMax);
}

// Verifies files whose units are done, from the first one; waits for them only if more than `open_max` are open.
Status Assembler::Settle(uint64_t open_max) {
  while (open_.size() > 1) {  // the last one is being read
    OpenFile& file = open_.front();
    const uint64_t units_end = file.first_unit + file.unit_count;
    if (pool_->done() < units_end) {
      if (open_.size() <= open_max) return Ok();
      TRY(pool_->WaitDone(units_end, stop_));
    }
    if (Status verified = Verify(file); !verified.ok()) return verified.error().With(*file.key);
    open_.pop_front();
  }
  return Ok();
}

Status Assembler::Verify(OpenFile& file) {
  ltx::FrameSum sum;
  for (const Unit& unit : file.units) {
    sum.Append(unit.sum);
    image_.position.checksum = image_.position.checksum.Toggle(unit.pages);
  }
  TRY_ASSIGN(const ltx::Trailer trailer, file.scanner.Finish(sum));
  const ltx::Header& header = *file.scanner.header();
  const Checksum post = trailer.post_apply_checksum;
  if (!header.no_checksum && file.part->checksum && post != *file.part->checksum) {
    return Error(Errc::kCorrupt,
                 "ends at checksum " + ToString(post) + " instead of " + ToString(*file.part->checksum));
  }
  const bool newest = !verified_;
  if (newest && !header.no_checksum) expected_ = post;
  if (newest && header.no_checksum) expected_ = file.part->checksum;
  const bool neighbours = verified_ && verified_->min_txid == header.max_txid.Next();
  if (neighbours && !header.no_checksum && !verified_->no_checksum && verified_->pre_apply_checksum != post) {
    return Error(Errc::kCorrupt, "ends at checksum " + ToString(post) + ", and " +
                                     ltx::FileName(verified_->min_txid, verified_->max_txid) + " begins at " +
                                     ToString(verified_->pre_apply_checksum));
  }
  verified_ = header;
  return Ok();
}

Status Assembler::CheckComplete() const {
  if (image_.min_txid != Txid(1)) {
    return Error(Errc::kGap, "the oldest file begins at " + ToString(image_.min_txid) + " and is no whole image");
  }
  const Pgno lock_page = LockPage(image_.page_size);
  const uint32_t wanted = image_.page_count - (lock_page.raw() <= image_.page_count ? 1 : 0);
  if (claims_.count() != wanted) {
    uint32_t missing = 1;
    while (missing < image_.page_count && (claims_.Has(Pgno(missing)) || Pgno(missing) == lock_page)) ++missing;
    return Error(Errc::kCorrupt, "page " + std::to_string(missing) + " of " + std::to_string(image_.page_count) +
                                     " is in none of the files");
  }
  if (expected_ && *expected_ != image_.position.checksum) {
    return Error(Errc::kCorrupt, "the image at " + ToString(image_.position.txid) + " has checksum " +
                                     ToString(image_.position.checksum) + " instead of " + ToString(*expected_));
  }
  return Ok();
}

Result<AssembledImage> Assembler::Run(BlockFetcher& fetcher) {
  image_.position.checksum = Checksum::Empty();
  while (true) {
    TRY_ASSIGN(const BlockFetcher::BlockPtr block, fetcher.Next(stop_));
    if (block == nullptr) break;
    TRY(TakeBlock(block));
  }
  // A file that was cut within its first bytes has made no pool.
  if (pool_ != nullptr) TRY(pool_->WaitDone(units_given_, stop_));
  while (!open_.empty()) {
    if (Status verified = Verify(open_.front()); !verified.ok()) return verified.error().With(*open_.front().key);
    open_.pop_front();
  }
  TRY(CheckComplete());
  image_.proven = expected_.has_value();
  return std::move(image_);
}

}  // namespace

Result<AssembledImage> Assemble(store::ObjectStore& store, const std::vector<Piece>& pieces, ImageSink& sink,
                                const AssembleOptions& options, std::stop_token stop) {
  for (const Piece& piece : pieces) {
    for (const Part& part : piece.parts) {
      if (part.bytes >= ltx::kFileBytesMin) continue;
      return Error(Errc::kCorrupt, piece.key + ": " + ltx::FileName(part.min_txid, part.max_txid) + " of " +
                                       std::to_string(part.bytes) + " bytes is no LTX file");
    }
  }
  BlockFetcher fetcher(store, pieces, options.fetch);
  Assembler assembler(pieces, sink, options, std::move(stop));
  return assembler.Run(fetcher);
}

}  // namespace runnel::restore
