// Reads pieces of objects by several threads at once and hands the bytes out in order, block by block, in bounded
// memory.
//
// I1  Blocks come out in the order of the pieces, each piece in the order of its bytes, none missing.
// I2  Block n is fetched only when n is less than `blocks_max` beyond the oldest block still in use. The block wanted
//     next is therefore always fetched: whoever holds blocks cannot starve whoever needs them.
//
// Buffers are used again and again. THREAD: Next one thread; blocks may be dropped by any. LIFETIME: blocks must not
// outlive their fetcher, nor the fetcher its store.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <thread>
#include <vector>

#include "ltx/base/bytes.h"
#include "ltx/base/result.h"
#include "ltx/base/sync.h"
#include "subscriber/archive/store/object_store.h"
#include "subscriber/restore/part.h"

namespace runnel::restore {

struct FetchOptions {
  uint64_t block_bytes = uint64_t{4} << 20;
  uint32_t blocks_max = 12;  // in memory at once
  uint32_t threads = 4;
  // Read each piece by one request instead of one a block: for stores where a range costs as much as what lies before
  // it.
  bool one_request_a_piece = false;
};

class BlockFetcher {
 public:
  struct Block {
    size_t piece = 0;     // index of its piece
    uint64_t offset = 0;  // within the piece
    Bytes bytes;
    bool last = false;  // of its piece
  };
  // Shared by everybody who still reads its bytes; the buffer returns with the last of them.
  using BlockPtr = std::shared_ptr<const Block>;

  // The pieces must not change or go away before the fetcher does.
  BlockFetcher(store::ObjectStore& store, const std::vector<Piece>& pieces, FetchOptions options);
  ~BlockFetcher();

  // nullptr behind the last one. Errors: the store's; kCorrupt when an object is shorter than its piece; kCancelled.
  Result<BlockPtr> Next(std::stop_token stop);

 private:
  struct Buffer;
  struct Slot {
    BlockPtr ready;
    bool freed = false;
  };
  struct Task {
    size_t piece = 0;
    uint64_t offset = 0;  // within the piece
    uint64_t bytes = 0;
    uint64_t first_block = 0;
  };

  void Work(std::stop_token stop);
  std::optional<Task> TakeTask();
  Status Fetch(const Task& task, std::stop_token stop);
  Result<std::unique_ptr<std::byte[]>> BufferFor(uint64_t block, std::stop_token stop);
  void Publish(uint64_t block, const Task& task, uint64_t offset, uint64_t bytes, std::unique_ptr<std::byte[]> buffer);
  void Release(uint64_t block, std::unique_ptr<std::byte[]> buffer);

  store::ObjectStore& store_;
  const std::vector<Piece>& pieces_;
  const FetchOptions options_;
  uint64_t block_count_ = 0;

  Mutex mutex_;
  CondVar changed_;
  // Where the next task begins.
  size_t task_piece_ GUARDED_BY(mutex_) = 0;
  uint64_t task_offset_ GUARDED_BY(mutex_) = 0;
  uint64_t task_block_ GUARDED_BY(mutex_) = 0;
  uint64_t next_ GUARDED_BY(mutex_) = 0;           // block that Next hands out
  uint64_t oldest_in_use_ GUARDED_BY(mutex_) = 0;  // all before have been freed
  std::vector<Slot> slots_ GUARDED_BY(mutex_);     // a ring, by block number
  std::vector<std::unique_ptr<std::byte[]>> buffers_ GUARDED_BY(mutex_);
  std::optional<Error> error_ GUARDED_BY(mutex_);

  std::vector<std::jthread> threads_;  // last: they use all of the above
};

}  // namespace runnel::restore
