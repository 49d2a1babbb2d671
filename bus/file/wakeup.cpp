#include "bus/file/wakeup.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace runnel::bus::file {
namespace {

constexpr uint32_t kGrowth = IN_MODIFY;
constexpr uint32_t kMask =
    kGrowth | IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF;
// How long a reader that hears of changes trusts that it would have heard.
constexpr std::chrono::milliseconds kTick{1000};
// How often a reader that cannot hear looks.
constexpr std::chrono::milliseconds kDeafTick{5};

}  // namespace

Wakeup::Wakeup(const std::string& directory)
    : inotify_(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC)), stop_event_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  watching_ = inotify_.valid() && ::inotify_add_watch(inotify_.get(), directory.c_str(), kMask) >= 0;
}

Wakeup::Reason Wakeup::Wait(SteadyTime deadline, std::stop_token stop) {
  if (stop.stop_requested()) return Reason::kStop;
  int stop_fd = stop_event_.get();
  std::stop_callback on_stop(stop, [stop_fd] { (void)::eventfd_write(stop_fd, 1); });
  SteadyTime now = std::chrono::steady_clock::now();
  if (now >= deadline) return Reason::kDeadline;
  bool can_hear_stop = stop_event_.valid();
  auto tick = watching_ && can_hear_stop ? kTick : kDeafTick;
  bool until_deadline = deadline - now <= tick;
  auto wait = until_deadline ? deadline - now : std::chrono::duration_cast<SteadyTime::duration>(tick);
  auto seconds = std::chrono::duration_cast<std::chrono::seconds>(wait);
  struct timespec timeout {};
  timeout.tv_sec = seconds.count();
  timeout.tv_nsec = std::chrono::duration_cast<std::chrono::nanoseconds>(wait - seconds).count();
  std::array<struct pollfd, 2> fds{{{inotify_.get(), POLLIN, 0}, {stop_fd, POLLIN, 0}}};  // poll passes over -1
  int ready = ::ppoll(fds.data(), fds.size(), &timeout, nullptr);
  if (stop.stop_requested()) {
    eventfd_t ignored = 0;
    (void)::eventfd_read(stop_fd, &ignored);
    return Reason::kStop;
  }
  if (ready == 0) return until_deadline ? Reason::kDeadline : Reason::kTick;
  if (ready > 0 && fds[0].revents != 0) return Drain() ? Reason::kFiles : Reason::kBytes;
  return Reason::kTick;  // a signal
}

bool Wakeup::Drain() {
  bool files = false;
  alignas(struct inotify_event) std::array<char, 4096> buffer;
  while (true) {
    ssize_t size = ::read(inotify_.get(), buffer.data(), buffer.size());
    if (size <= 0) return files;
    for (size_t at = 0; at + sizeof(struct inotify_event) <= static_cast<size_t>(size);) {
      struct inotify_event event {};
      std::memcpy(&event, buffer.data() + at, sizeof event);
      at += sizeof event + event.len;
      if ((event.mask & ~kGrowth) != 0) files = true;
      if ((event.mask & (IN_IGNORED | IN_DELETE_SELF | IN_MOVE_SELF)) != 0) watching_ = false;
    }
  }
}

}  // namespace runnel::bus::file
