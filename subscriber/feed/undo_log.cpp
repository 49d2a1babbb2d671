#include "subscriber/feed/undo_log.h"

#include <algorithm>
#include <atomic>
#include <cstring>

namespace runnel::feed {
namespace {

constexpr uint64_t kBytesMin = 64 << 10;
constexpr int kSizeBits = 40;
constexpr uint64_t kSizeMask = (uint64_t{1} << kSizeBits) - 1;

uint64_t WordOf(uint64_t state_number, uint64_t bytes) { return state_number << kSizeBits | bytes; }

}  // namespace

Result<std::unique_ptr<UndoLog>> UndoLog::Open(const std::string& path) {
  TRY_ASSIGN(File file, File::OpenOrCreate(path, 0600));
  std::byte word[kHeadBytes] = {};
  TRY(file.ReadAt(0, word));
  // Records that an earlier state needed are not worth their room.
  const uint64_t needed = std::max(kHeadBytes + (LoadBe64(word) & kSizeMask), kBytesMin);
  TRY_ASSIGN(uint64_t size, file.Size());
  if (size > needed) TRY(file.Truncate(needed));
  std::unique_ptr<UndoLog> log(new UndoLog(std::move(file)));
  TRY(log->file_.Grow(std::max(std::min(size, needed), kBytesMin)));
  return log;
}

Result<std::vector<UndoLog::Record>> UndoLog::Read(uint64_t state_number) const {
  std::vector<Record> records;
  const uint64_t word = LoadBe64(file_.data());
  if (word >> kSizeBits != WordOf(state_number, 0) >> kSizeBits) return records;
  const Error torn(Errc::kCorrupt, file_.path() + ": a record is not whole");
  if ((word & kSizeMask) > file_.bytes() - kHeadBytes) return torn;
  const uint64_t end = kHeadBytes + (word & kSizeMask);
  for (uint64_t at = kHeadBytes; at < end;) {
    if (end - at < kRecordHeadBytes) return torn;
    const std::byte* head = file_.data() + at;
    const uint32_t bytes = LoadBe32(head + 8);
    if (end - at < RecordBytes(bytes)) return torn;
    records.push_back({Pgno(LoadBe32(head)), LoadBe32(head + 4), {head + kRecordHeadBytes, bytes}});
    at += RecordBytes(bytes);
  }
  return records;
}

void UndoLog::Start(uint64_t state_number) {
  state_number_ = state_number;
  end_ = kHeadBytes;
  Publish();
}

Status UndoLog::Reserve(uint64_t bytes) {
  if (end_ + bytes <= file_.bytes()) return Ok();
  return file_.Grow(std::max(end_ + bytes, 2 * file_.bytes()));
}

void UndoLog::Add(Pgno pgno, size_t offset, Bytes held) {
  std::byte* head = file_.data() + end_;
  StoreBe32(head, pgno.raw());
  StoreBe32(head + 4, static_cast<uint32_t>(offset));
  StoreBe32(head + 8, static_cast<uint32_t>(held.size()));
  StoreBe32(head + 12, 0);
  std::memcpy(head + kRecordHeadBytes, held.data(), held.size());
  end_ += RecordBytes(held.size());
}

void UndoLog::Publish() {
  uint64_t word = 0;
  StoreBe64(reinterpret_cast<std::byte*>(&word), WordOf(state_number_, end_ - kHeadBytes));
  // The compiler may not move the stores before this one behind it, nor those behind it to its front; a killed process
  // has done its stores in their order.
  std::atomic_signal_fence(std::memory_order_seq_cst);
  std::atomic_ref(*reinterpret_cast<uint64_t*>(file_.data())).store(word, std::memory_order_relaxed);
  std::atomic_signal_fence(std::memory_order_seq_cst);
}

}  // namespace runnel::feed
