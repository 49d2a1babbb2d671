#include "tests/support/image_publisher.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <thread>

namespace runnel::testing {

using publisher::Clock;
using publisher::CommitFrames;
using publisher::PageSource;

namespace {

constexpr size_t kInFlightBytesMax = 32u << 20;

Status WriteAll(int fd, Bytes bytes, uint64_t offset) {
  ssize_t written = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
  return written == static_cast<ssize_t>(bytes.size()) ? Ok() : Status(ErrnoError(errno, "write image"));
}

std::string ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

}  // namespace

Result<std::unique_ptr<ImagePublisher>> ImagePublisher::Open(const Options& options, publisher::WakeHub& hub) {
  std::unique_ptr<ImagePublisher> self(new ImagePublisher(options));
  self->image_ = ::open(ImagePath(options.directory).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  self->state_file_ = ::open((options.directory + "/state").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (self->image_ < 0 || self->state_file_ < 0) return ErrnoError(errno, "open image");
  self->options_.capture.drain = [raw = self.get()](Clock::time_point deadline) { return raw->Drain(deadline); };
  TRY_ASSIGN(self->capture_, publisher::Capture::Open(self->options_.capture, hub));
  TRY(self->Start());
  return self;
}

ImagePublisher::~ImagePublisher() {
  if (image_ >= 0) ::close(image_);
  if (state_file_ >= 0) ::close(state_file_);
}

Status ImagePublisher::Start() {
  State saved;
  if (::pread(state_file_, &saved, sizeof saved, 0) == static_cast<ssize_t>(sizeof saved)) {
    state_ = saved;
    TRY_ASSIGN(bool resumed, capture_->ResumeAt(saved.position, saved.page_count));
    if (resumed) {
      ++state_.resumes;
      return SaveState();
    }
  }
  return CompareImage();
}

Status ImagePublisher::CompareImage() {
  in_flight_.clear();
  in_flight_bytes_ = 0;
  TRY_ASSIGN(publisher::ImagePin pin, capture_->PinImage());
  const uint32_t page_bytes = capture_->page_size().raw();
  std::vector<std::byte> page(page_bytes);
  std::vector<std::byte> ours(page_bytes);
  for (uint32_t raw = 1; raw <= pin.page_count; ++raw) {
    if (Pgno(raw) == LockPage(capture_->page_size())) continue;
    uint64_t offset = uint64_t{raw - 1} * page_bytes;
    TRY(capture_->ReadImagePage(Pgno(raw), page));
    bool equal =
        ::pread(image_, ours.data(), page_bytes, static_cast<off_t>(offset)) == static_cast<ssize_t>(page_bytes) &&
        ours == page;
    if (!equal) TRY(WriteAll(image_, page, offset));
  }
  if (::ftruncate(image_, static_cast<off_t>(uint64_t{pin.page_count} * page_bytes)) != 0)
    return ErrnoError(errno, "image");
  state_.position = pin.at;
  state_.page_count = pin.page_count;
  ++state_.images;
  return SaveState();
}

Status ImagePublisher::SaveState() { return WriteAll(state_file_, std::as_bytes(std::span(&state_, 1)), 0); }

Status ImagePublisher::Turn() {
  TRY(capture_->Step());
  Status read = ReadAll(Clock::now() + std::chrono::milliseconds(50));
  if (!read.ok()) {
    if (read.code() != Errc::kGap) return read;
    return CompareImage();
  }
  return AckDue(Clock::now());
}

void ImagePublisher::Wait(Clock::time_point latest) {
  if (!in_flight_.empty()) latest = std::min(latest, in_flight_.front().due);
  capture_->Wait(latest);
}

Status ImagePublisher::ReadAll(Clock::time_point deadline) {
  const uint32_t page_bytes = capture_->page_size().raw();
  at_end_ = false;
  while (in_flight_bytes_ < kInFlightBytesMax) {
    TRY_ASSIGN(std::optional<CommitFrames> commit, capture_->Next());
    at_end_ = !commit.has_value();
    if (at_end_) return Ok();
    Message message;
    message.pages.resize(commit->pages.size() * page_bytes);
    for (size_t i = 0; i < commit->pages.size(); ++i) {
      TRY_ASSIGN(Bytes page, capture_->Page(commit->pages[i]));
      std::memcpy(message.pages.data() + i * page_bytes, page.data(), page_bytes);
    }
    message.commit = std::move(*commit);
    message.due = Clock::now() + options_.ack_delay;
    in_flight_bytes_ += message.pages.size();
    in_flight_.push_back(std::move(message));
    if (options_.ack_delay.count() == 0) TRY(AckDue(in_flight_.back().due));
    if (Clock::now() > deadline) return Ok();
  }
  return Ok();
}

Status ImagePublisher::AckDue(Clock::time_point now) {
  bool any = false;
  while (!in_flight_.empty() && in_flight_.front().due <= now) {
    TRY(Apply(in_flight_.front()));
    in_flight_bytes_ -= in_flight_.front().pages.size();
    in_flight_.pop_front();
    any = true;
  }
  if (any) capture_->Released(state_.position);
  return Ok();
}

Status ImagePublisher::Apply(const Message& message) {
  const uint32_t page_bytes = capture_->page_size().raw();
  for (size_t i = 0; i < message.commit.pages.size(); ++i) {
    uint64_t offset = uint64_t{message.commit.pages[i].pgno.raw() - 1} * page_bytes;
    TRY(WriteAll(image_, Bytes(message.pages).subspan(i * page_bytes, page_bytes), offset));
  }
  if (message.commit.page_count != state_.page_count &&
      ::ftruncate(image_, static_cast<off_t>(uint64_t{message.commit.page_count} * page_bytes)) != 0) {
    return ErrnoError(errno, "image");
  }
  state_.position = message.commit.end;
  state_.page_count = message.commit.page_count;
  ++state_.commits;
  return SaveState();
}

bool ImagePublisher::Drain(Clock::time_point deadline) {
  while (true) {
    if (!ReadAll(deadline).ok() || !AckDue(Clock::now()).ok()) return false;
    if (quiet()) return true;
    if (Clock::now() >= deadline) return false;
    if (!in_flight_.empty()) std::this_thread::sleep_until(std::min(deadline, in_flight_.front().due));
  }
}

std::string CompareWithImage(const std::string& db_path, const std::string& directory) {
  sqlite3* db = nullptr;
  sqlite3_open(db_path.c_str(), &db);
  sqlite3_busy_timeout(db, 5000);
  sqlite3_exec(db, "PRAGMA schema_version", nullptr, nullptr, nullptr);  // without a read the checkpoint does nothing
  int rc = sqlite3_wal_checkpoint_v2(db, "main", SQLITE_CHECKPOINT_TRUNCATE, nullptr, nullptr);
  std::string integrity;
  auto take = [](void* out, int, char** values, char**) {
    *static_cast<std::string*>(out) += values[0];
    return 0;
  };
  sqlite3_exec(db, "PRAGMA integrity_check", take, &integrity, nullptr);
  sqlite3_close(db);
  if (rc != SQLITE_OK) return "the database cannot be checkpointed: " + std::string(sqlite3_errstr(rc));
  if (integrity != "ok") return "the database is damaged: " + integrity;
  std::string source = ReadFile(db_path);
  std::string image = ReadFile(ImagePublisher::ImagePath(directory));
  if (source.size() != image.size()) {
    return "image of " + std::to_string(image.size()) + " bytes, database of " + std::to_string(source.size());
  }
  uint32_t page_bytes = static_cast<uint8_t>(source[16]) << 8 | static_cast<uint8_t>(source[17]);
  if (page_bytes == 1) page_bytes = 65536;
  std::string different;
  for (size_t at = 0; at < source.size(); at += page_bytes) {
    if (source.compare(at, page_bytes, image, at, page_bytes) == 0 || at == 0x40000000u) continue;
    different += " " + std::to_string(at / page_bytes + 1);
    if (different.size() > 100) break;
  }
  return different.empty() ? "" : "pages differ:" + different;
}

}  // namespace runnel::testing
