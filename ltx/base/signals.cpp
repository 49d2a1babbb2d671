#include "ltx/base/signals.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <thread>

#include "ltx/base/check.h"
#include "ltx/base/fs.h"

namespace runnel {
namespace {

sigset_t OurSignals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGHUP);
  return set;
}

}  // namespace

struct Signals::State {
  Fd signals;
  Fd quit;  // an eventfd: the destructor's wish
  std::function<void()> on_hangup;
  std::stop_source source;
  std::atomic<int> first{0};
  std::jthread thread;

  void Handle(int number) {
    if (number == SIGHUP) {
      if (on_hangup) on_hangup();
      return;
    }
    int none = 0;
    if (!first.compare_exchange_strong(none, number)) ::_exit(128 + number);
    source.request_stop();
  }

  void Run() {
    for (;;) {
      pollfd fds[2] = {{signals.get(), POLLIN, 0}, {quit.get(), POLLIN, 0}};
      if (::poll(fds, 2, -1) < 0 && errno != EINTR) return;
      if (fds[1].revents != 0) return;
      signalfd_siginfo info;
      if (::read(signals.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
        Handle(static_cast<int>(info.ssi_signo));
      }
    }
  }
};

Result<std::unique_ptr<Signals>> Signals::Install(std::function<void()> on_hangup) {
  sigset_t set = OurSignals();
  int err = ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  if (err != 0) return ErrnoError(err, "block signals");
  std::unique_ptr<State> state = std::make_unique<State>();
  state->signals = Fd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  state->quit = Fd(::eventfd(0, EFD_CLOEXEC));
  if (!state->signals.valid() || !state->quit.valid()) return ErrnoError(errno, "make a signal descriptor");
  state->on_hangup = std::move(on_hangup);
  State* running = state.get();
  state->thread = std::jthread([running] { running->Run(); });
  ::pthread_setname_np(state->thread.native_handle(), "signals");
  return std::unique_ptr<Signals>(new Signals(std::move(state)));  // NOLINT: the constructor is private
}

Signals::Signals(std::unique_ptr<State> state) : state_(std::move(state)) {}

Signals::~Signals() {
  uint64_t one = 1;
  CHECK(::write(state_->quit.get(), &one, sizeof one) == static_cast<ssize_t>(sizeof one), "an eventfd takes a one");
  state_->thread.join();
  sigset_t set = OurSignals();
  ::pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

std::stop_token Signals::stop_token() const { return state_->source.get_token(); }
void Signals::RequestStop() { state_->source.request_stop(); }
int Signals::signal() const { return state_->first.load(); }

void RestoreSignalsInChild() {
  sigset_t set = OurSignals();
  ::sigprocmask(SIG_UNBLOCK, &set, nullptr);
}

}  // namespace runnel
