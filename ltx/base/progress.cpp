#include "ltx/base/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

#include <fmt/format.h>

#include "ltx/base/log.h"
#include "ltx/base/units.h"

namespace runnel {
namespace {

constexpr std::chrono::milliseconds kBarInterval(100);
constexpr std::chrono::seconds kLogInterval(5);
constexpr size_t kBarCellsMax = 40;
constexpr size_t kBarCellsMin = 8;

double Rate(const ProgressState& state) {
  double seconds = std::chrono::duration<double>(state.elapsed).count();
  return seconds > 0 ? static_cast<double>(state.done) / seconds : 0;
}

std::string Amount(ProgressUnit unit, double amount) {
  return unit == ProgressUnit::kBytes ? FormatBytes(static_cast<uint64_t>(amount)) : FormatCount(amount);
}

double Fraction(const ProgressState& state) {
  return state.total == 0 ? 0 : std::min(1.0, static_cast<double>(state.done) / static_cast<double>(state.total));
}

std::string Numbers(const ProgressState& state) {
  std::string out = Amount(state.unit, static_cast<double>(state.done));
  if (state.total != 0) out += " / " + Amount(state.unit, static_cast<double>(state.total));
  out += fmt::format("  {}/s", Amount(state.unit, Rate(state)));
  std::chrono::microseconds rest = TimeRemaining(state);
  if (rest.count() > 0) out += "  " + FormatDuration(std::chrono::ceil<std::chrono::seconds>(rest)) + " left";
  return out;
}

size_t TerminalWidth() {
  winsize size = {};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

}  // namespace

std::chrono::microseconds TimeRemaining(const ProgressState& state) {
  double rate = Rate(state);
  if (rate <= 0 || state.total <= state.done) return std::chrono::microseconds(0);
  double seconds = static_cast<double>(state.total - state.done) / rate;
  return std::chrono::microseconds(static_cast<int64_t>(std::min(seconds, 1e9) * 1e6));
}

std::string RenderProgressBar(const ProgressState& state, size_t width) {
  std::string numbers = Numbers(state);
  std::string out = state.title + "  ";
  if (state.total != 0) {
    std::string percent = fmt::format("]  {:3.0f}%  ", std::floor(Fraction(state) * 100));
    size_t taken = out.size() + 1 + percent.size() + numbers.size();
    if (taken + kBarCellsMin <= width) {
      size_t cells = std::min(kBarCellsMax, width - taken);
      size_t full = static_cast<size_t>(Fraction(state) * static_cast<double>(cells));
      std::string bar(full, '=');
      if (full < cells) bar += '>';
      bar.resize(cells, ' ');
      out += "[" + bar + percent;
    } else {
      out += percent.substr(3);
    }
  }
  out += numbers;
  if (out.size() > width) out.resize(width);
  return out;
}

Progress::Progress(std::string title, ProgressUnit unit, uint64_t total, Style style, const Clock& clock)
    : clock_(clock), style_(style), started_at_(clock.Now()), next_show_(started_at_) {
  if (style_ == Style::kAuto) style_ = ::isatty(STDERR_FILENO) == 1 ? Style::kBar : Style::kLog;
  // Short work should not appear in the log at all; a bar should appear at once.
  if (style_ == Style::kLog) next_show_ += kLogInterval;
  state_.title = std::move(title);
  state_.unit = unit;
  state_.total = total;
}

Progress::~Progress() {
  if (line_open_) std::fputc('\n', stderr);
}

void Progress::Set(uint64_t done) {
  state_.done = done;
  if (style_ != Style::kNone && clock_.Now() >= next_show_) Show(false);
}

void Progress::Finish() {
  if (style_ != Style::kNone) Show(true);
  style_ = Style::kNone;
}

void Progress::Show(bool last) {
  SteadyTime now = clock_.Now();
  state_.elapsed = std::chrono::duration_cast<std::chrono::microseconds>(now - started_at_);
  if (style_ == Style::kBar) {
    next_show_ = now + kBarInterval;
    // \r to the start of the line, ESC[K clears what a longer text left behind.
    std::string text = "\r" + RenderProgressBar(state_, TerminalWidth() - 1) + "\x1b[K" + (last ? "\n" : "");
    std::fwrite(text.data(), 1, text.size(), stderr);
    std::fflush(stderr);
    line_open_ = !last;
    return;
  }
  next_show_ = now + kLogInterval;
  Log(Level::kInfo, last ? "work_finished" : "work_progressed",
      {{"what", state_.title},
       {"done", state_.done},
       {"total", state_.total},
       {"percent", std::floor(Fraction(state_) * 100)},
       {"rate", Amount(state_.unit, Rate(state_)) + "/s"},
       {"dur_ms", std::chrono::duration_cast<std::chrono::milliseconds>(state_.elapsed).count()},
       {"left", FormatDuration(TimeRemaining(state_))}});
}

}  // namespace runnel
