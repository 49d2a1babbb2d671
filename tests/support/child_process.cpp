#include "tests/support/child_process.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

#include "ltx/base/check.h"

namespace runnel::testing {
namespace {

// Runs between fork and exec: only async-signal-safe calls. Reports errno through `report` and ends when something
// fails.
[[noreturn]] void BecomeProgram(char* const* argv, char* const* envp, const char* output, const char* directory,
                                pid_t parent, int report) {
  int err = 0;
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  const int in = open("/dev/null", O_RDONLY);
  const int out = open(output, O_WRONLY | O_CREAT | O_APPEND, 0644);
  if (getppid() != parent) {
    err = ESRCH;  // the test died before the death signal was armed
  } else if (in < 0 || out < 0 || dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0) {
    err = errno;
  } else if (*directory != '\0' && chdir(directory) != 0) {
    err = errno;
  } else {
    close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);  // inherited locks and sockets must not live on in a server
    execvpe(argv[0], argv, envp);
    err = errno;
  }
  const ssize_t written = write(report, &err, sizeof(err));
  _exit(written == sizeof(err) ? 127 : 126);
}

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (std::string& text : strings) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

Result<std::unique_ptr<ChildProcess>> ChildProcess::Start(Options options) {
  CHECK(!options.argv.empty(), "no program");
  std::vector<std::string> environment = options.environment;
  for (char** entry = environ; *entry != nullptr; ++entry) environment.push_back(*entry);
  std::vector<char*> argv = Pointers(options.argv);
  std::vector<char*> envp = Pointers(environment);
  const std::string output = options.output.empty() ? "/dev/null" : options.output.string();
  const std::string directory = options.directory.string();

  int report[2];
  if (pipe2(report, O_CLOEXEC) != 0) return ErrnoError(errno, "pipe");
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid == 0) BecomeProgram(argv.data(), envp.data(), output.c_str(), directory.c_str(), parent, report[1]);
  close(report[1]);
  if (pid < 0) {
    close(report[0]);
    return ErrnoError(errno, "fork");
  }
  setpgid(pid, pid);  // also here: the group exists when Start returns, whoever runs first
  int err = 0;
  const bool failed = read(report[0], &err, sizeof(err)) == sizeof(err);
  close(report[0]);
  if (failed) {
    waitpid(pid, nullptr, 0);
    return ErrnoError(err, "start " + options.argv[0]);
  }
  const int pidfd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));  // glibc 2.36 declares no C++ linkage for it
  CHECK(pidfd >= 0, "pidfd_open");
  return std::unique_ptr<ChildProcess>(new ChildProcess(pid, pidfd, options.output));
}

ChildProcess::~ChildProcess() {
  Kill(SIGKILL);
  waitpid(pid_, nullptr, 0);
  close(pidfd_);
}

void ChildProcess::Kill(int signal) { kill(-pid_, signal); }
void ChildProcess::Freeze() {
  Kill(SIGSTOP);
  siginfo_t info = {};  // the signal is delivered later than sent: until then threads of the child go on
  CHECK(waitid(P_PID, pid_, &info, WSTOPPED | WEXITED | WNOWAIT) == 0, "waitid");
}

void ChildProcess::Thaw() { Kill(SIGCONT); }

std::optional<int> ChildProcess::Wait(std::chrono::milliseconds timeout) {
  pollfd ended = {.fd = pidfd_, .events = POLLIN, .revents = 0};
  const std::chrono::steady_clock::time_point deadline = std::chrono::steady_clock::now() + timeout;
  while (true) {
    const std::chrono::milliseconds left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    const int ready = poll(&ended, 1, left.count() > 0 ? static_cast<int>(left.count()) : 0);
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return std::nullopt;
    break;
  }
  siginfo_t info = {};
  CHECK(waitid(P_PID, pid_, &info, WEXITED | WNOWAIT) == 0, "waitid");
  return info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
}

std::string ChildProcess::Output() const {
  std::ifstream file(output_);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace runnel::testing
