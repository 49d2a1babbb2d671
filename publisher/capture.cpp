#include "publisher/capture.h"

#include <algorithm>
#include <utility>

#include "ltx/base/check.h"
#include "ltx/base/time.h"
#include "ltx/sqlite/wal_format.h"
#include "publisher/index_lookup.h"

namespace runnel::publisher {

using sqlite::LiveDb;
using sqlite::WalIndexHeader;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

constexpr seconds kPinPatience{
    5};  // slots change hands in microseconds; a stopped checkpointer may hold one for longer
constexpr milliseconds kTornPatience{20};  // a writer is inside its header for nanoseconds
constexpr int kPinSpins = 50;
constexpr microseconds kPinPause{50};

WalPosition PositionOf(const WalIndexHeader& header) {
  WalPosition position{.salt = {header.salt[0], header.salt[1]}, .frame = header.max_frame};
  if (header.max_frame > 0) {
    position.checksum[0] = header.frame_checksum[0];
    position.checksum[1] = header.frame_checksum[1];
  }
  return position;
}

}  // namespace

Result<std::unique_ptr<Capture>> Capture::Open(const CaptureOptions& options, WakeHub& hub) {
  if (options.detect == Detect::kInotify && !hub.available()) {
    return Error(Errc::kUnsupported, "detect: inotify is asked for, but this process got no inotify instance");
  }
  sqlite::LiveDbOptions live{.path = options.path, .wait = options.open_wait};
  TRY_ASSIGN(std::unique_ptr<LiveDb> locks, LiveDb::Open(live));
  TRY_ASSIGN(std::unique_ptr<LiveDb> checkpoints, LiveDb::Open(live));
  std::unique_ptr<Capture> capture(new Capture(options, std::move(locks), std::move(checkpoints), hub));
  TRY(capture->CheckFiles(Clock::now()));
  TRY(capture->FirstPin());
  return capture;
}

Capture::Capture(const CaptureOptions& options, std::unique_ptr<LiveDb> locks, std::unique_ptr<LiveDb> checkpoints,
                 WakeHub& hub)
    : options_(options),
      poll_(options.detect == Detect::kPoll || !hub.available()),
      wake_(hub.Attach(options.path)),
      locks_(std::move(locks)),
      pins_(*locks_),
      tail_(*locks_),
      checkpointer_(std::move(checkpoints), [wake = wake_.get()] { wake->Notify(WakeHub::kWorker); }),
      checkpoint_policy_(options.checkpoint_frames.value_or(0)) {}

Capture::~Capture() = default;

// Runs `attempt` until it pins something. A header that stays torn is given to SQLite meanwhile.
Status Capture::RetryPin(const std::function<bool()>& attempt) {
  Clock::time_point start = Clock::now();
  Clock::time_point torn_since = start;
  for (int tries = 0; !attempt(); ++tries) {
    Clock::time_point now = Clock::now();
    if (now - start > kPinPatience) {
      return Error(Errc::kTimeout, options_.path + ": no read slot of the wal-index was free for 5 s");
    }
    WalIndexHeader header;
    if (locks_->ReadHeader(header, 3)) {
      torn_since = now;
    } else if (now - torn_since > kTornPatience && !checkpointer_.busy()) {
      checkpointer_.StartRecovery();
      torn_since = now;
    }
    if (tries > kPinSpins) Pause(kPinPause);
  }
  return Ok();
}

// Slots 1..4 first: they keep the whole WAL, so that nothing of it can go while we find out where to resume.
Status Capture::FirstPin() {
  return RetryPin([this] {
    WalIndexHeader header;
    std::optional<Pin> pin = pins_.TakeHigh(PinKind::kMark, true, header);
    if (!pin) pin = pins_.TakeZero(header);
    if (pin) pins_.Adopt(*pin);
    return pin.has_value();
  });
}

void Capture::StartAt(const WalPosition& position, uint32_t page_count) {
  tail_.Seek(position, page_count);
  released_ = position;
  continuation_.known = false;
  reached_end_ = false;
}

Result<bool> Capture::ResumeAt(const WalPosition& position, uint32_t page_count) {
  WalIndexHeader header;
  if (!locks_->ReadHeader(header)) return false;
  if (!sqlite::SameSalt(position.salt, header.salt) || position.frame > header.max_frame) return false;
  if (position.salt[0] == 0 && position.salt[1] == 0) return false;  // a recovered empty WAL: names nothing
  const Pin& pin = pins_.pin();
  bool kept = sqlite::SameSalt(pin.salt, header.salt) && (pin.slot > 0 || pin.mx_frame == position.frame);
  if (!kept) {
    // Slot 0 keeps only what is behind its mx_frame. The frames between must not go while they are read.
    if (pin.slot != 0 || !Repin(PinKind::kNomark)) return false;
    if (!sqlite::SameSalt(pins_.pin().salt, position.salt)) return false;
  }
  TRY_ASSIGN(std::optional<WalPosition> found, FindCommit(position, page_count));
  if (found) StartAt(*found, page_count);
  return found.has_value();
}

// The position with its checksum, when its frame ends a commit of that size.
Result<std::optional<WalPosition>> Capture::FindCommit(const WalPosition& position, uint32_t page_count) {
  std::optional<WalPosition> found;
  if (position.frame == 0) {
    found = position;
    return found;
  }
  std::byte bytes[sqlite::kFrameHeaderBytes];
  TRY(locks_->ReadWal(bytes, sqlite::FrameOffset(position.frame, locks_->page_size())));
  sqlite::FrameHeader frame = sqlite::ParseFrameHeader(bytes);
  bool commit = sqlite::SameSalt(frame.salt, position.salt) && frame.commit_pages == page_count && page_count != 0;
  bool same = !position.checksum_known() || sqlite::SameSalt(frame.checksum, position.checksum);
  if (commit && same) {
    found = position;
    found->checksum[0] = frame.checksum[0];
    found->checksum[1] = frame.checksum[1];
  }
  return found;
}

Result<ImagePin> Capture::PinImage() {
  image_.reset();
  image_frames_.clear();
  if (checkpointer_.busy()) checkpointer_.WaitIdle(Clock::now() + kPinPatience);
  ImagePin image;
  TRY(RetryPin([&] { return TryPinImage(image); }));
  TRY_ASSIGN(image.page_count, PageCountOf(*image_));
  if (pins_.pin().slot > 0) {
    TRY_ASSIGN(image_frames_, NewestFrames(*locks_, image_->max_frame));
  }
  StartAt(image.at, image.page_count);
  return image;
}

// Exact pins: slot 0 while nothing is left to copy (the file is the image and cannot change), or a mark under an
// unchanged header. Which of them the old pin was does not matter: whoever asks for an image lets the past go.
bool Capture::TryPinImage(ImagePin& image) {
  WalIndexHeader header;
  if (pins_.pin().slot == 0) {
    if (!pins_.RenewZero(header)) {
      bool shield = !locks_->Holds(sqlite::kLockCheckpoint) && locks_->TryExclusive(sqlite::kLockCheckpoint);
      std::optional<Pin> pin = pins_.TakeHigh(PinKind::kMark, true, header);
      if (pin) pins_.Adopt(*pin);
      if (shield) locks_->UnlockExclusive(sqlite::kLockCheckpoint);
      if (!pin) return false;
    }
  } else {
    std::optional<Pin> pin = pins_.TakeZero(header);
    if (!pin) pin = pins_.TakeHigh(PinKind::kMark, true, header);
    if (!pin) return false;
    pins_.Adopt(*pin);
  }
  image_ = header;
  image.at = PositionOf(header);
  return true;
}

Result<uint32_t> Capture::PageCountOf(const WalIndexHeader& header) {
  if (header.page_count != 0) return header.page_count;
  // A wal-index recovered from an empty WAL knows no size: the database header does, when its two change counters
  // agree.
  std::byte bytes[100];
  TRY(locks_->ReadDb(bytes, 0));
  uint32_t pages = LoadBe32(bytes + 28);
  if (pages != 0 && LoadBe32(bytes + 24) == LoadBe32(bytes + 92)) return pages;
  TRY_ASSIGN(uint64_t size, locks_->DbBytes());
  return static_cast<uint32_t>(size / locks_->page_size());
}

Status Capture::ReadImagePage(Pgno pgno, MutableBytes out) {
  CHECK(image_.has_value(), "no image is pinned");
  CHECK(out.size() == locks_->page_size(), "a page is read whole");
  auto found = std::lower_bound(image_frames_.begin(), image_frames_.end(), pgno,
                                [](const PageSource& source, Pgno wanted) { return source.pgno < wanted; });
  if (found != image_frames_.end() && found->pgno == pgno) {
    return locks_->ReadWal(out, sqlite::FrameOffset(found->frame, locks_->page_size()) + sqlite::kFrameHeaderBytes);
  }
  Status read = locks_->ReadDb(out, uint64_t{pgno.raw() - 1} * locks_->page_size());
  // Past its end the file is zeros, which the failed read has filled in.
  return read.ok() || read.code() == Errc::kCorrupt ? Ok() : read;
}

void Capture::Rewind(const WalPosition& position, uint32_t page_count) {
  tail_.Seek(position, page_count);
  reached_end_ = false;
}

Error Capture::Gap(std::string what) {
  ++stats_.gaps;
  return Error(Errc::kGap, options_.path + "-wal: " + what);
}

// Whether the WAL of `header` begins exactly where our position ends.
bool Capture::Continues(const WalIndexHeader& header) const {
  const WalPosition& at = tail_.position();
  const Pin& pin = pins_.pin();
  if (pin.slot == 0) {
    // The one reset slot 0 allows happens at its mx_frame. An empty WAL may change its salts as often as it likes.
    if (pin.mx_frame == 0) return at.frame == 0;
    if (sqlite::SameSalt(at.salt, pin.salt) && at.frame == pin.mx_frame) return true;
  }
  return continuation_.known && sqlite::SameSalt(header.salt, continuation_.next_salt) &&
         (continuation_.end.frame == 0 ? at.frame == 0 : at.SamePlace(continuation_.end));
}

Status Capture::RefreshLimit() {
  WalIndexHeader header;
  if (!locks_->ReadHeader(header, 20)) return Ok();  // Step deals with a torn header
  const WalPosition& at = tail_.position();
  bool same = sqlite::SameSalt(header.salt, at.salt);
  if (header.max_frame == 0 && (!same || at.frame == 0)) return Ok();  // emptied; what comes next decides
  if (!same) {
    if (!Continues(header)) {
      return Gap("was reset while its frames after " + std::to_string(at.frame) + " were not read");
    }
    TRY(tail_.EnterWal(header));
    ++stats_.wal_resets;
  } else if (header.max_frame < at.frame) {
    return Gap("went back from frame " + std::to_string(at.frame) + " to " + std::to_string(header.max_frame));
  } else if (at.frame == 0 && header.max_frame > 0 && !at.checksum_known()) {
    TRY(tail_.EnterWal(header));
  }
  tail_.SetLimit(header);
  return Ok();
}

Result<std::optional<CommitFrames>> Capture::Next() {
  image_.reset();
  if (tail_.at_limit()) {
    TRY(RefreshLimit());
  }
  Result<std::optional<CommitFrames>> commit = tail_.Next();
  if (!commit.ok()) {
    if (commit.code() == Errc::kGap) ++stats_.gaps;
    return commit;
  }
  reached_end_ = !commit->has_value();
  if (!reached_end_) ++stats_.commits;
  return commit;
}

CaptureStats Capture::stats() const {
  CaptureStats stats = stats_;
  stats.pins_shared = pins_.shared_marks();
  stats.checkpoints = checkpointer_.checkpoints();
  stats.recoveries = checkpointer_.recoveries();
  stats.finish_given_up = finish_line_.given_up();
  stats.checkpoint_error = checkpointer_.last_error();
  stats.unverified_frames = tail_.unverified_frames();
  stats.wal_frames = seen_frame_;
  stats.backfill_frames = seen_backfill_;
  stats.pin = pins_.pin().kind();
  return stats;
}

}  // namespace runnel::publisher
