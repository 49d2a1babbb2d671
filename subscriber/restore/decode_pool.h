// The threads that turn frames into written pages. Private to this room: assembler.h uses it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <thread>
#include <vector>

#include "ltx/base/result.h"
#include "ltx/base/sync.h"
#include "ltx/format/frame_scanner.h"
#include "subscriber/restore/block_fetcher.h"
#include "subscriber/restore/image_sink.h"

namespace runnel::restore {

// Some frames of one LTX file that lie one behind the other. Filled by the scanner, then given to the pool, which has
// it alone until done().
struct Unit {
  struct Frame {
    ltx::FrameScanner::Frame frame;
    bool write = false;  // the newest version of its page
  };
  BlockFetcher::BlockPtr block;  // whose bytes the frames lie in
  std::vector<std::byte> own;    // or these: one frame that straddled two blocks
  std::vector<Frame> frames;
  ltx::FrameSum sum;                   // of the frames, once done
  Checksum pages = Checksum::Empty();  // of the pages written, once done
};

class DecodePool {
 public:
  struct Options {
    uint32_t threads = 2;
    PageSize page_size;
    std::vector<Checksum>* checksums = nullptr;  // by page number - 1, sized; each entry is set by one thread
  };
  // The sink must outlive the pool.
  DecodePool(Options options, ImageSink& sink);
  ~DecodePool();

  // Errors: that of the first unit that failed; kCancelled. LIFETIME: the unit must live until Finished counts it.
  Status Give(Unit* unit, std::stop_token stop);

  // Waits until `count` units, from the first one given, are done: they may be looked at again.
  Status WaitDone(uint64_t count, std::stop_token stop);
  // So many, from the first one given, are certainly done.
  uint64_t done() const;

 private:
  void Work(std::stop_token stop);

  const Options options_;
  ImageSink& sink_;
  BoundedQueue<std::pair<uint64_t, Unit*>> queue_;
  uint64_t given_ = 0;  // of the giving thread

  mutable Mutex mutex_;
  CondVar changed_;
  uint64_t done_ GUARDED_BY(mutex_) = 0;             // all units before are done
  std::vector<bool> done_ahead_ GUARDED_BY(mutex_);  // a ring behind done_
  std::optional<Error> error_ GUARDED_BY(mutex_);

  std::vector<std::jthread> threads_;  // last: they use all of the above
};

}  // namespace runnel::restore
