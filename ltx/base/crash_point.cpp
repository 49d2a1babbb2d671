#include "ltx/base/crash_point.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "ltx/base/check.h"

namespace runnel::crash_point_detail {
namespace {

struct Plan {
  std::string name;
  uint64_t passage = 1;
  std::string log_path;
};

// "name" or "name:n". A plan that cannot be read must not let a crash test pass, so it ends the process.
Plan ReadPlan() {
  Plan plan;
  const char* text = std::getenv("RUNNEL_CRASH_POINT");
  if (text == nullptr || *text == '\0') return plan;
  plan.name = text;
  if (size_t colon = plan.name.rfind(':'); colon != std::string::npos) {
    const char* begin = plan.name.data() + colon + 1;
    const char* end = plan.name.data() + plan.name.size();
    std::from_chars_result parsed = std::from_chars(begin, end, plan.passage);
    CHECK(parsed.ec == std::errc() && parsed.ptr == end && plan.passage > 0, "RUNNEL_CRASH_POINT is name or name:n");
    plan.name.resize(colon);
  }
  if (const char* path = std::getenv("RUNNEL_CRASH_LOG")) plan.log_path = path;
  return plan;
}

Plan& GetPlan() {
  static Plan plan = ReadPlan();
  return plan;
}

std::atomic<uint64_t> passages{0};

}  // namespace

constinit std::atomic<bool> armed{false};

namespace {
// Before main, so that no thread can pass a point unseen.
[[maybe_unused]] const bool plan_is_read = [] {
  armed.store(!GetPlan().name.empty(), std::memory_order_relaxed);
  return true;
}();
}  // namespace

void Passed(std::string_view name) {
  const Plan& plan = GetPlan();
  if (name != plan.name || passages.fetch_add(1, std::memory_order_relaxed) + 1 != plan.passage) return;
  if (!plan.log_path.empty()) {
    int fd = ::open(plan.log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    std::string line = plan.name + "\n";
    if (fd < 0 || ::write(fd, line.data(), line.size()) < 0) std::abort();
  }
  ::kill(::getpid(), SIGKILL);
  std::abort();  // not reached
}

void ReadAgain() {
  GetPlan() = ReadPlan();
  passages.store(0, std::memory_order_relaxed);
  armed.store(!GetPlan().name.empty(), std::memory_order_relaxed);
}

}  // namespace runnel::crash_point_detail
