#include "publisher/wake_hub.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "ltx/base/check.h"

namespace runnel::publisher {
namespace {

void Signal(int event) {
  uint64_t one = 1;
  // A full counter is already a signal, so a failed write loses nothing.
  [[maybe_unused]] ssize_t written = ::write(event, &one, sizeof one);
}

void Drain(int event) {
  uint64_t count;
  [[maybe_unused]] ssize_t got = ::read(event, &count, sizeof count);
}

}  // namespace

WakeHub::WakeHub() {
  inotify_ = ::inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  if (inotify_ < 0) return;
  stop_ = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  CHECK(stop_ >= 0, "no descriptor left for an eventfd");
  thread_ = std::jthread([this] { Run(); });
  pthread_setname_np(thread_.native_handle(), "wake");
}

WakeHub::~WakeHub() {
  CHECK(clients_.empty(), "the hub must outlive its clients");
  if (inotify_ < 0) return;
  Signal(stop_);
  thread_.join();
  ::close(stop_);
  ::close(inotify_);
}

std::unique_ptr<WakeHub::Client> WakeHub::Attach(const std::string& db_path) {
  std::unique_ptr<Client> client(new Client(*this, db_path));  // private constructor: make_unique cannot reach it
  MutexLock lock(mutex_);
  clients_.push_back(client.get());
  return client;
}

void WakeHub::Detach(Client* client) {
  MutexLock lock(mutex_);
  clients_.erase(std::remove(clients_.begin(), clients_.end(), client), clients_.end());
  for (auto it = targets_.begin(); it != targets_.end();) {
    std::vector<Target>& list = it->second;
    list.erase(std::remove_if(list.begin(), list.end(), [&](const Target& t) { return t.client == client; }),
               list.end());
    if (list.empty()) {
      ::inotify_rm_watch(inotify_, it->first);
      it = targets_.erase(it);
    } else {
      ++it;
    }
  }
}

bool WakeHub::Arm(const std::string& path, Client* client, uint32_t bit) {
  if (inotify_ < 0) return false;
  // The lock is held over the call so that the event of this watch cannot be dispatched before its target is known.
  MutexLock lock(mutex_);
  int watch = ::inotify_add_watch(inotify_, path.c_str(), IN_MODIFY | IN_ONESHOT);
  if (watch < 0) return false;
  targets_[watch].push_back({client, bit});  // two clients of one file share the watch
  return true;
}

void WakeHub::Run() {
  alignas(inotify_event) char buffer[4096];
  while (true) {
    pollfd fds[2] = {{inotify_, POLLIN, 0}, {stop_, POLLIN, 0}};
    if (::poll(fds, 2, -1) < 0) continue;  // EINTR is the only failure with these arguments
    if (fds[1].revents != 0) return;
    ssize_t size = ::read(inotify_, buffer, sizeof buffer);
    ssize_t offset = 0;
    while (offset < size) {
      inotify_event event;
      std::memcpy(&event, buffer + offset, sizeof event);
      offset += static_cast<ssize_t>(sizeof event + event.len);
      Dispatch(event.wd, event.mask);
    }
  }
}

void WakeHub::Dispatch(int watch, uint32_t mask) {
  MutexLock lock(mutex_);
  if ((mask & IN_Q_OVERFLOW) != 0) {
    for (auto& [id, list] : targets_) ::inotify_rm_watch(inotify_, id);
    targets_.clear();
    for (Client* client : clients_) client->Notify(kOverflow);
    return;
  }
  auto found = targets_.find(watch);
  if (found == targets_.end()) return;  // the IN_IGNORED that follows each one-shot event
  for (const Target& target : found->second) target.client->Notify(target.bit);
  targets_.erase(found);
}

WakeHub::Client::Client(WakeHub& hub, std::string db_path)
    : hub_(hub), db_path_(std::move(db_path)), wal_path_(db_path_ + "-wal") {
  event_ = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  CHECK(event_ >= 0, "no descriptor left for an eventfd");
}

WakeHub::Client::~Client() {
  hub_.Detach(this);
  ::close(event_);
}

bool WakeHub::Client::Arm(const std::string& path, uint32_t bit) {
  if ((armed_ & bit) != 0) return true;
  if (!hub_.Arm(path, this, bit)) return false;
  armed_ |= bit;
  return true;
}

void WakeHub::Client::Notify(uint32_t bits) {
  bits_.fetch_or(bits);
  // Either this thread sees `sleeping_` or the sleeper sees the bit: both are sequentially consistent.
  if (sleeping_.load()) Signal(event_);
}

uint32_t WakeHub::Client::Take() {
  uint32_t bits = bits_.exchange(0);
  armed_ &= ~(bits & (kWal | kDb));
  if ((bits & kOverflow) != 0) armed_ = 0;
  return bits;
}

void WakeHub::Client::SleepFor(std::chrono::nanoseconds time) {
  if (time.count() <= 0) return;
  sleeping_.store(true);
  if (bits_.load() == 0) {
    auto seconds = std::chrono::duration_cast<std::chrono::seconds>(time);
    timespec timeout{seconds.count(), static_cast<long>((time - seconds).count())};
    pollfd fd{event_, POLLIN, 0};
    ::ppoll(&fd, 1, &timeout, nullptr);
  }
  sleeping_.store(false);
  Drain(event_);
}

}  // namespace runnel::publisher
