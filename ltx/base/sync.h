// The only mutexes of the project: annotated, so that the clang preset proves at compile time that what is guarded is
// touched under its lock. Waiting always takes a stop_token and a deadline, so no thread can hang past its owner's
// wish.
//
// No lock may be held across IO, a callback or a call into another room.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <stop_token>
#include <utility>

#include "ltx/base/check.h"
#include "ltx/base/result.h"

#if defined(__clang__)
#define RUNNEL_THREAD_ATTRIBUTE(x) __attribute__((x))
#else
#define RUNNEL_THREAD_ATTRIBUTE(x)
#endif
#define CAPABILITY(x) RUNNEL_THREAD_ATTRIBUTE(capability(x))
#define SCOPED_CAPABILITY RUNNEL_THREAD_ATTRIBUTE(scoped_lockable)
#define GUARDED_BY(x) RUNNEL_THREAD_ATTRIBUTE(guarded_by(x))
#define PT_GUARDED_BY(x) RUNNEL_THREAD_ATTRIBUTE(pt_guarded_by(x))
#define REQUIRES_LOCK(...) RUNNEL_THREAD_ATTRIBUTE(requires_capability(__VA_ARGS__))
#define EXCLUDES_LOCK(...) RUNNEL_THREAD_ATTRIBUTE(locks_excluded(__VA_ARGS__))
#define ACQUIRES_LOCK(...) RUNNEL_THREAD_ATTRIBUTE(acquire_capability(__VA_ARGS__))
#define RELEASES_LOCK(...) RUNNEL_THREAD_ATTRIBUTE(release_capability(__VA_ARGS__))
#define NO_THREAD_SAFETY_ANALYSIS RUNNEL_THREAD_ATTRIBUTE(no_thread_safety_analysis)

namespace runnel {

class CAPABILITY("mutex") Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void Lock() ACQUIRES_LOCK() { mutex_.lock(); }
  void Unlock() RELEASES_LOCK() { mutex_.unlock(); }

 private:
  friend class CondVar;
  std::mutex mutex_;
};

// Holds the mutex for its scope.
class SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) ACQUIRES_LOCK(mutex) : mutex_(mutex) { mutex_.Lock(); }
  ~MutexLock() RELEASES_LOCK() { mutex_.Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

class CondVar {
 public:
  CondVar() = default;
  CondVar(const CondVar&) = delete;
  CondVar& operator=(const CondVar&) = delete;

  void NotifyOne() { changed_.notify_one(); }
  void NotifyAll() { changed_.notify_all(); }

  // Sleeps until notified (true; may be spurious, so look at the condition again), or until a stop was asked for or the
  // deadline has passed (false). Use: while (!condition) if (!cond.WaitUntil(mutex, stop, deadline)) return ...;
  bool WaitUntil(Mutex& mutex, std::stop_token stop, std::chrono::steady_clock::time_point deadline)
      REQUIRES_LOCK(mutex) NO_THREAD_SAFETY_ANALYSIS {
    if (stop.stop_requested()) return false;
    bool slept = false;
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    // The predicate is false once, so that exactly one sleep happens; the stop_token form exists only with a predicate.
    changed_.wait_until(lock, stop, deadline, [&slept] { return std::exchange(slept, true); });
    lock.release();
    return !stop.stop_requested() && std::chrono::steady_clock::now() < deadline;
  }

 private:
  std::condition_variable_any changed_;
};

// The newest value of something, for threads that only care about the newest. THREAD: any.
template <typename T>
class Latest {
 public:
  // A value and how many were set up to it; 0 = the initial one.
  struct Seen {
    T value;
    uint64_t version = 0;
  };

  explicit Latest(T initial = T()) : seen_{std::move(initial), 0} {}

  void Set(T value) {
    {
      MutexLock lock(mutex_);
      seen_.value = std::move(value);
      ++seen_.version;
    }
    changed_.NotifyAll();
  }

  T Get() const { return Look().value; }

  Seen Look() const {
    MutexLock lock(mutex_);
    return seen_;
  }

  // Waits until a value newer than `version` was set. Values set between are skipped. Errors: kTimeout, kCancelled.
  Result<Seen> WaitPast(uint64_t version, std::stop_token stop, std::chrono::steady_clock::time_point deadline) const {
    return WaitSeen([version](const Seen& seen) { return seen.version > version; }, stop, deadline);
  }

  // Waits until the value satisfies `pred`, which runs under the lock: look and return. Errors: kTimeout, kCancelled.
  template <typename Predicate>
  Result<T> WaitFor(Predicate pred, std::stop_token stop, std::chrono::steady_clock::time_point deadline) const {
    TRY_ASSIGN(Seen seen, WaitSeen([&pred](const Seen& now) { return pred(now.value); }, stop, deadline));
    return std::move(seen.value);
  }

 private:
  template <typename Predicate>
  Result<Seen> WaitSeen(Predicate pred, std::stop_token stop, std::chrono::steady_clock::time_point deadline) const {
    MutexLock lock(mutex_);
    while (!pred(seen_)) {
      if (changed_.WaitUntil(mutex_, stop, deadline)) continue;
      if (pred(seen_)) break;
      if (stop.stop_requested()) return Error(Errc::kCancelled, "stopped while waiting");
      return Error(Errc::kTimeout, "nothing new before the deadline");
    }
    return seen_;
  }

  mutable Mutex mutex_;
  mutable CondVar changed_;
  Seen seen_ GUARDED_BY(mutex_);
};

// First in, first out, at most `size_max` elements: a full queue makes its producer wait. THREAD: any.
template <typename T>
class BoundedQueue {
 public:
  explicit BoundedQueue(size_t size_max) : size_max_(size_max) { CHECK(size_max > 0, "a queue needs room"); }

  // Waits for room. Errors: kTimeout, kCancelled (stop asked for or queue closed); the element is then dropped.
  Status Push(T value, std::stop_token stop, std::chrono::steady_clock::time_point deadline) {
    {
      MutexLock lock(mutex_);
      while (items_.size() >= size_max_ && !closed_) {
        if (!changed_.WaitUntil(mutex_, stop, deadline)) return NotDone(stop, "the queue stays full");
      }
      if (closed_) return Error(Errc::kCancelled, "the queue is closed");
      items_.push_back(std::move(value));
    }
    changed_.NotifyAll();
    return Ok();
  }

  // False when full or closed; for callbacks that must not wait.
  bool TryPush(T value) {
    {
      MutexLock lock(mutex_);
      if (closed_ || items_.size() >= size_max_) return false;
      items_.push_back(std::move(value));
    }
    changed_.NotifyAll();
    return true;
  }

  // The oldest element. Errors: kTimeout, kCancelled (stop asked for, or closed and empty).
  Result<T> Pop(std::stop_token stop, std::chrono::steady_clock::time_point deadline) {
    std::optional<T> value;
    {
      MutexLock lock(mutex_);
      while (items_.empty() && !closed_) {
        if (!changed_.WaitUntil(mutex_, stop, deadline) && items_.empty())
          return NotDone(stop, "the queue stays empty");
      }
      if (items_.empty()) return Error(Errc::kCancelled, "the queue is closed");
      value = std::move(items_.front());
      items_.pop_front();
    }
    changed_.NotifyAll();
    return std::move(*value);
  }

  // No element gets in any more; what is in may still be taken.
  void Close() {
    {
      MutexLock lock(mutex_);
      closed_ = true;
    }
    changed_.NotifyAll();
  }

  size_t size() const {
    MutexLock lock(mutex_);
    return items_.size();
  }

 private:
  static Error NotDone(const std::stop_token& stop, const char* what) {
    if (stop.stop_requested()) return Error(Errc::kCancelled, "stopped while waiting");
    return Error(Errc::kTimeout, what);
  }

  const size_t size_max_;
  mutable Mutex mutex_;
  CondVar changed_;
  std::deque<T> items_ GUARDED_BY(mutex_);
  bool closed_ GUARDED_BY(mutex_) = false;
};

}  // namespace runnel
