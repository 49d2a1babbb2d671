#include "subscriber/restore/block_fetcher.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "ltx/base/check.h"
#include "ltx/base/time.h"

namespace runnel::restore {
namespace {

uint64_t BlocksOf(const Piece& piece, uint64_t block_bytes) { return (piece.bytes + block_bytes - 1) / block_bytes; }

}  // namespace

BlockFetcher::BlockFetcher(store::ObjectStore& store, const std::vector<Piece>& pieces, FetchOptions options)
    : store_(store), pieces_(pieces), options_(options), slots_(options.blocks_max) {
  for (const Piece& piece : pieces_) block_count_ += BlocksOf(piece, options_.block_bytes);
  const uint64_t threads =
      std::min<uint64_t>({options_.threads, options_.blocks_max, std::max(block_count_, uint64_t{1})});
  for (uint64_t i = 0; i < threads; ++i) {
    threads_.emplace_back([this](std::stop_token stop) { Work(std::move(stop)); });
  }
}

BlockFetcher::~BlockFetcher() {
  for (std::jthread& thread : threads_) thread.request_stop();
  threads_.clear();
  // Blocks that nobody has taken return their buffers, too: while everything they need is still there.
  std::vector<Slot> left(slots_.size());
  {
    MutexLock lock(mutex_);
    left.swap(slots_);
  }
}

void BlockFetcher::Work(std::stop_token stop) {
  while (!stop.stop_requested()) {
    const std::optional<Task> task = TakeTask();
    if (!task) return;
    const Status fetched = Fetch(*task, stop);
    if (fetched.ok()) continue;
    {
      MutexLock lock(mutex_);
      if (!error_) error_ = fetched.error();
    }
    changed_.NotifyAll();
    return;
  }
}

std::optional<BlockFetcher::Task> BlockFetcher::TakeTask() {
  MutexLock lock(mutex_);
  if (error_) return std::nullopt;
  while (task_piece_ < pieces_.size() && pieces_[task_piece_].bytes == 0) ++task_piece_;
  if (task_piece_ == pieces_.size()) return std::nullopt;
  const Piece& piece = pieces_[task_piece_];
  Task task{task_piece_, task_offset_, piece.bytes - task_offset_, task_block_};
  if (!options_.one_request_a_piece) task.bytes = std::min(task.bytes, options_.block_bytes);
  task_offset_ += task.bytes;
  task_block_ += (task.bytes + options_.block_bytes - 1) / options_.block_bytes;
  if (task_offset_ == piece.bytes) {
    ++task_piece_;
    task_offset_ = 0;
  }
  return task;
}

Status BlockFetcher::Fetch(const Task& task, std::stop_token stop) {
  const Piece& piece = pieces_[task.piece];
  uint64_t block = task.first_block;
  uint64_t done = 0;  // bytes of the task
  uint64_t filled = 0;
  std::unique_ptr<std::byte[]> buffer;
  auto take = [&](Bytes bytes) -> Status {
    while (!bytes.empty()) {
      if (buffer == nullptr) {
        TRY_ASSIGN(buffer, BufferFor(block, stop));
      }
      const uint64_t room = std::min(options_.block_bytes, task.bytes - (done - filled)) - filled;
      const size_t size = std::min<uint64_t>(room, bytes.size());
      CHECK(size != 0, "a store hands out no more than the range");
      std::memcpy(buffer.get() + filled, bytes.data(), size);
      filled += size;
      done += size;
      bytes = bytes.subspan(size);
      if (size != room) continue;
      Publish(block++, task, task.offset + done - filled, filled, std::move(buffer));
      filled = 0;
    }
    return Ok();
  };
  TRY(store_.Get(piece.key, store::ByteRange::From(piece.offset + task.offset, task.bytes), take));
  if (done == task.bytes) return Ok();
  return Error(Errc::kCorrupt, store_.location() + ": " + piece.key + " ends at byte " +
                                   std::to_string(piece.offset + task.offset + done) + ", within what it should hold");
}

Result<std::unique_ptr<std::byte[]>> BlockFetcher::BufferFor(uint64_t block, std::stop_token stop) {
  MutexLock lock(mutex_);
  while (block >= oldest_in_use_ + options_.blocks_max) {
    if (!changed_.WaitUntil(mutex_, stop, NoDeadline())) return Error(Errc::kCancelled, "stopped while fetching");
  }
  if (buffers_.empty()) return std::make_unique_for_overwrite<std::byte[]>(options_.block_bytes);
  std::unique_ptr<std::byte[]> buffer = std::move(buffers_.back());
  buffers_.pop_back();
  return buffer;
}

void BlockFetcher::Publish(uint64_t block, const Task& task, uint64_t offset, uint64_t bytes,
                           std::unique_ptr<std::byte[]> buffer) {
  const bool last = offset + bytes == pieces_[task.piece].bytes;
  std::byte* const data = buffer.release();  // owned by the deleter from here
  BlockPtr ready(std::make_unique<Block>(Block{task.piece, offset, Bytes(data, bytes), last}).release(),
                 [this, block, data](const Block* done) {
                   std::unique_ptr<const Block> owned(done);
                   Release(block, std::unique_ptr<std::byte[]>(data));
                 });
  {
    MutexLock lock(mutex_);
    slots_[block % slots_.size()] = {std::move(ready), false};
  }
  changed_.NotifyAll();
}

void BlockFetcher::Release(uint64_t block, std::unique_ptr<std::byte[]> buffer) {
  {
    MutexLock lock(mutex_);
    buffers_.push_back(std::move(buffer));
    slots_[block % slots_.size()].freed = true;
    while (oldest_in_use_ < next_ && slots_[oldest_in_use_ % slots_.size()].freed) {
      slots_[oldest_in_use_ % slots_.size()].freed = false;
      ++oldest_in_use_;
    }
  }
  changed_.NotifyAll();
}

Result<BlockFetcher::BlockPtr> BlockFetcher::Next(std::stop_token stop) {
  MutexLock lock(mutex_);
  if (next_ == block_count_) return BlockPtr();
  Slot& slot = slots_[next_ % slots_.size()];
  while (slot.ready == nullptr) {
    if (error_) return *error_;
    if (!changed_.WaitUntil(mutex_, stop, NoDeadline())) return Error(Errc::kCancelled, "stopped while fetching");
  }
  ++next_;
  return std::move(slot.ready);
}

}  // namespace runnel::restore
