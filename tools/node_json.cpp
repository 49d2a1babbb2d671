#include "tools/node_json.h"

namespace runnel::tools {
namespace {

using std::chrono::microseconds;

double Milliseconds(microseconds time) { return static_cast<double>(time.count()) / 1000.0; }

bus::CaptureTime Now() { return std::chrono::floor<microseconds>(std::chrono::system_clock::now()); }

}  // namespace

nlohmann::json ToJson(const publisher::DatabaseSnapshot& s) {
  return {{"path", s.path},
          {"name", s.name},
          {"bus", s.bus},
          {"state", ToString(s.state)},
          {"trouble", s.trouble},
          {"lineage", s.lineage},
          {"epoch", s.epoch},
          {"captured", ToString(s.captured)},
          {"published", ToString(s.published)},
          {"unpublished_commits", s.captured.txid.raw() - s.published.txid.raw()},
          {"commits", s.commits},
          {"ltx_bytes", s.ltx_bytes},
          {"snapshots", s.snapshots},
          {"references", s.references},
          {"deltas", s.deltas},
          {"ranges", s.ranges},
          {"leaderships", s.leaderships},
          {"inflight_messages", s.inflight_messages},
          {"backlog_bytes", s.backlog_bytes},
          {"journals", s.journals},
          {"wal_frames", s.capture.wal_frames},
          {"backfill_frames", s.capture.backfill_frames},
          {"wal_bytes_max", s.capture.wal_bytes_max},
          {"wal_resets", s.capture.wal_resets},
          {"checkpoints", s.capture.checkpoints},
          {"checkpoint_error", s.capture.checkpoint_error},
          {"finishes", s.capture.finished},
          {"finishes_given_up", s.capture.finish_given_up},
          {"forced_checkpoints", s.capture.forced},
          {"forced_unfinished", s.capture.forced_unfinished},
          {"write_lock_held_us_max", s.capture.hold_us_max}};
}

nlohmann::json ToJson(const subscriber::FollowerSnapshot& s) {
  microseconds lag = s.Lag(Now());
  nlohmann::json json = {
      {"path", s.path},
      {"name", s.name},
      {"bus", s.bus},
      {"state", ToString(s.state)},
      {"trouble", s.trouble},
      {"lineage", s.lineage},
      {"epoch", s.epoch},
      {"applied", ToString(s.applied)},
      {"head", ToString(s.head)},
      {"lag_commits", s.LagCommits()},
      {"head_age_ms", s.head_seen_at.time_since_epoch().count() == 0 ? -1.0 : Milliseconds(Now() - s.head_seen_at)},
      {"latency_ms",
       {{"count", s.latency.count()},
        {"p50", Milliseconds(s.latency.Quantile(0.5))},
        {"p99", Milliseconds(s.latency.Quantile(0.99))},
        {"max", Milliseconds(s.latency.max())}}},
      {"commits", s.commits},
      {"visible_commits", s.visible_commits},
      {"duplicates", s.duplicates},
      {"damaged_messages", s.damaged_messages},
      {"gaps", s.gaps},
      {"forks", s.forks},
      {"resyncs", s.resyncs},
      {"snapshots", s.snapshots},
      {"repaired_pages", s.repaired_pages},
      {"wal_frames", s.replica.wal_frames},
      {"wal_backfilled", s.replica.wal_backfilled},
      {"paused", s.replica.paused},
      {"ltx_bytes", s.ltx_bytes}};
  // No number is honest before there is a replica.
  json["lag_ms"] = lag == microseconds::max() ? nlohmann::json() : nlohmann::json(Milliseconds(lag));
  return json;
}

Readiness ReadinessOf(const publisher::DatabaseSnapshot& s) {
  if (s.state == publisher::DatabaseState::kPublishing) return {};
  std::string reason = s.name + " is " + std::string(ToString(s.state));
  return {false, s.trouble.empty() ? reason : reason + ": " + s.trouble};
}

Readiness ReadinessOf(const subscriber::FollowerSnapshot& s, std::chrono::milliseconds ready_lag) {
  if (s.applied.txid == Txid()) return {false, s.name + " has no replica yet"};
  if (s.state != subscriber::FollowerState::kFollowing) {
    std::string reason = s.name + " is " + std::string(ToString(s.state));
    return {false, s.trouble.empty() ? reason : reason + ": " + s.trouble};
  }
  if (s.Lag(Now()) > ready_lag) {
    return {false, s.name + " is " + std::to_string(s.LagCommits()) + " commits behind"};
  }
  return {};
}

}  // namespace runnel::tools
