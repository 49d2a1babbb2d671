#include "subscriber/restore/decode_pool.h"

#include <algorithm>
#include <utility>

#include "ltx/base/time.h"

namespace runnel::restore {
namespace {

// Units waiting for a thread. Small: each keeps a block in memory.
constexpr size_t kQueueMax = 64;
// Pages gathered for one write: large enough to make the call cheap, small enough to stay in a core's own cache between
// decompression, sum and write.
constexpr size_t kRunBytes = 256 << 10;

// Decodes frames one by one into a run of pages, and writes it when the next page does not follow.
class RunWriter {
 public:
  RunWriter(PageSize page_size, std::vector<Checksum>* checksums, ImageSink& sink)
      : page_bytes_(page_size.raw()),
        run_bytes_max_(std::max(kRunBytes, page_bytes_)),
        checksums_(checksums),
        sink_(sink),
        decoder_(page_size),
        // One more page: for those that are not written.
        memory_(std::make_unique_for_overwrite<std::byte[]>(run_bytes_max_ + page_bytes_)) {}

  Status Process(Unit& unit) {
    unit.pages = Checksum::Empty();
    for (const Unit::Frame& frame : unit.frames) TRY(Decode(frame, unit));
    TRY(Flush());
    unit.sum = decoder_.TakeSum();
    return Ok();
  }

 private:
  Status Decode(const Unit::Frame& one, Unit& unit) {
    const Pgno pgno = one.frame.pgno;
    const bool follows = first_.raw() + run_bytes_ / page_bytes_ == pgno.raw();
    if (one.write && (!follows || run_bytes_ == run_bytes_max_)) {
      TRY(Flush());
      first_ = pgno;
    }
    const MutableBytes page(memory_.get() + (one.write ? run_bytes_ : run_bytes_max_), page_bytes_);
    TRY_ASSIGN(const Checksum checksum, decoder_.Decode(one.frame, page));
    if (!one.write) return Ok();
    run_bytes_ += page_bytes_;
    unit.pages = unit.pages.Toggle(checksum);
    if (checksums_ != nullptr) (*checksums_)[pgno.raw() - 1] = checksum;
    return Ok();
  }

  Status Flush() {
    if (run_bytes_ == 0) return Ok();
    return sink_.Write(first_, Bytes(memory_.get(), std::exchange(run_bytes_, 0)));
  }

  const size_t page_bytes_;
  const size_t run_bytes_max_;
  std::vector<Checksum>* const checksums_;
  ImageSink& sink_;
  ltx::FrameDecoder decoder_;
  std::unique_ptr<std::byte[]> memory_;
  Pgno first_;
  size_t run_bytes_ = 0;
};

}  // namespace

// Units that are done but behind one that is not: no more than the queue and the threads can hold.
DecodePool::DecodePool(Options options, ImageSink& sink)
    : options_(options), sink_(sink), queue_(kQueueMax), done_ahead_(kQueueMax + options.threads + 1) {
  for (uint32_t i = 0; i < options_.threads; ++i) {
    threads_.emplace_back([this](std::stop_token stop) { Work(std::move(stop)); });
  }
}

DecodePool::~DecodePool() {
  queue_.Close();
  for (std::jthread& thread : threads_) thread.request_stop();
  threads_.clear();
}

void DecodePool::Work(std::stop_token stop) {
  RunWriter writer(options_.page_size, options_.checksums, sink_);
  while (true) {
    Result<std::pair<uint64_t, Unit*>> taken = queue_.Pop(stop, NoDeadline());
    if (!taken.ok()) return;
    auto [number, unit] = *taken;
    const Status processed = writer.Process(*unit);
    unit->block.reset();
    unit->frames = {};
    unit->own = {};
    {
      MutexLock lock(mutex_);
      if (!processed.ok() && !error_) error_ = processed.error();
      done_ahead_[number % done_ahead_.size()] = true;
      while (done_ahead_[done_ % done_ahead_.size()]) {
        done_ahead_[done_ % done_ahead_.size()] = false;
        ++done_;
      }
    }
    changed_.NotifyAll();
    if (!processed.ok()) {
      queue_.Close();
      return;
    }
  }
}

Status DecodePool::Give(Unit* unit, std::stop_token stop) {
  {
    // A slot of the ring must be free.
    MutexLock lock(mutex_);
    while (!error_ && given_ - done_ >= done_ahead_.size()) {
      if (!changed_.WaitUntil(mutex_, stop, NoDeadline())) return Error(Errc::kCancelled, "stopped while decoding");
    }
    if (error_) return *error_;
  }
  const Status pushed = queue_.Push({given_, unit}, std::move(stop), NoDeadline());
  if (!pushed.ok()) {
    MutexLock lock(mutex_);
    return error_ ? Status(*error_) : pushed;
  }
  ++given_;
  return Ok();
}

Status DecodePool::WaitDone(uint64_t count, std::stop_token stop) {
  MutexLock lock(mutex_);
  while (!error_ && done_ < count) {
    if (!changed_.WaitUntil(mutex_, stop, NoDeadline())) return Error(Errc::kCancelled, "stopped while decoding");
  }
  return error_ ? Status(*error_) : Ok();
}

uint64_t DecodePool::done() const {
  MutexLock lock(mutex_);
  return done_;
}

}  // namespace runnel::restore
