// Places where tests kill the process, as `kill -9` would, to prove that a restart continues from there.
//
//   CrashPoint("replica_wal_synced");
//
// RUNNEL_CRASH_POINT=name[:n] in the environment makes the n-th passage (default the first) of that place the last
// thing the process does; the name is first appended as a line to the file named by RUNNEL_CRASH_LOG, so that a test
// can tell a kill at the point from any other death. Without the variable a passage costs one relaxed load. Nothing is
// flushed and no destructor runs: what survives is what the operating system already has.
#pragma once

#include <atomic>
#include <string_view>

namespace runnel {
namespace crash_point_detail {
extern std::atomic<bool> armed;  // set once before main, from the environment
void Passed(std::string_view name);
// What the environment says now, for a process that a test has forked. REQUIRES: no other thread.
void ReadAgain();
}  // namespace crash_point_detail

// THREAD: any; passages of all threads are counted together.
inline void CrashPoint(std::string_view name) {
  if (crash_point_detail::armed.load(std::memory_order_relaxed)) [[unlikely]]
    crash_point_detail::Passed(name);
}

// Some point is armed: for the rare place that must do a thing in two steps only so that a test can die between them.
inline bool CrashPointsArmed() { return crash_point_detail::armed.load(std::memory_order_relaxed); }

}  // namespace runnel
