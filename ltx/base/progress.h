// How far a long piece of work is: a bar on a terminal, a log line every few seconds elsewhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "ltx/base/time.h"

namespace runnel {

enum class ProgressUnit { kBytes, kCount };

// One moment of the work. total 0 = not known.
struct ProgressState {
  std::string title;  // "restore", "verify": one word for the bar and the log
  ProgressUnit unit = ProgressUnit::kBytes;
  uint64_t done = 0;
  uint64_t total = 0;
  std::chrono::microseconds elapsed{0};
};

// "restore  [=======>      ]  48%  1.2 GiB / 2.5 GiB  310 MiB/s  4s left", at most `width` columns. Pure.
std::string RenderProgressBar(const ProgressState& state, size_t width);

// How long the rest takes at the mean rate so far; 0 when unknown or done.
std::chrono::microseconds TimeRemaining(const ProgressState& state);

// Shows the work of one thread. Drawing is limited to ten a second on a terminal, one in five seconds in the log, so
// Advance may be called as often as the work likes.
class Progress {
 public:
  enum class Style { kAuto, kBar, kLog, kNone };  // kAuto: kBar if standard error is a terminal, else kLog

  Progress(std::string title, ProgressUnit unit, uint64_t total, Style style = Style::kAuto,
           const Clock& clock = SystemClock());
  ~Progress();  // ends the bar's line; says nothing more
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void Advance(uint64_t amount) { Set(state_.done + amount); }
  void Set(uint64_t done);
  void SetTotal(uint64_t total) { state_.total = total; }
  // Shows the end: done, mean rate and duration.
  void Finish();

 private:
  void Show(bool last);

  const Clock& clock_;
  Style style_;
  ProgressState state_;
  SteadyTime started_at_;
  SteadyTime next_show_;
  bool line_open_ = false;
};

}  // namespace runnel
