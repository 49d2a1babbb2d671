#include "tools/node_metrics.h"

#include <chrono>

#include "tools/labelled_metrics.h"

namespace runnel::tools {

void UpdateMetrics(Metrics& metrics, const publisher::DatabaseSnapshot& s) {
  const LabelledMetrics db(metrics, {{"db", s.name}});
  db.Gauge("runnel_publisher_leading", "1 while this node leads the log",
           s.state == publisher::DatabaseState::kPublishing);
  db.Gauge("runnel_publisher_captured_txid", "TXID of the newest captured commit", s.captured.txid.raw());
  db.Gauge("runnel_publisher_published_txid", "TXID of the newest commit acknowledged by the log",
           s.published.txid.raw());
  db.Count("runnel_publisher_commits_total", "Commits captured", s.commits);
  db.Count("runnel_publisher_ltx_bytes_total", "Bytes of LTX built", s.ltx_bytes);
  db.Count("runnel_publisher_ranges_total", "LTX files that carry more than one commit", s.ranges);
  db.Count("runnel_publisher_references_total", "References to images in the archive, written into the log",
           s.references);
  db.Count("runnel_publisher_deltas_total", "Deltas published after the WAL had moved on", s.deltas);
  db.Count("runnel_publisher_snapshots_total", "Snapshots published", s.snapshots);
  db.Count("runnel_publisher_leaderships_total", "Times the log was taken over", s.leaderships);
  db.Gauge("runnel_publisher_inflight_messages", "Messages sent and not yet acknowledged", s.inflight_messages);
  db.Gauge("runnel_publisher_backlog_bytes", "Bytes spilled while the bus is away", s.backlog_bytes);
  db.Gauge("runnel_capture_wal_frames", "Frames in the source's WAL", s.capture.wal_frames);
  db.Gauge("runnel_capture_wal_bytes_max", "Largest WAL seen", s.capture.wal_bytes_max);
  db.Count("runnel_capture_wal_resets_total", "Times the WAL started over", s.capture.wal_resets);
  db.Count("runnel_capture_checkpoints_total", "Checkpoints made", s.capture.checkpoints);
  db.Count("runnel_capture_forced_checkpoints_total", "Checkpoints finished under the write lock", s.capture.forced);
  db.Gauge("runnel_capture_write_lock_held_seconds_max", "Longest hold of the write lock",
           static_cast<double>(s.capture.hold_us_max) / 1e6);
}

void UpdateMetrics(Metrics& metrics, const subscriber::FollowerSnapshot& s) {
  const LabelledMetrics db(metrics, {{"db", s.name}});
  auto now = std::chrono::floor<std::chrono::microseconds>(std::chrono::system_clock::now());
  db.Gauge("runnel_subscriber_following", "1 while the replica follows the log",
           s.state == subscriber::FollowerState::kFollowing);
  db.Gauge("runnel_replica_applied_txid", "TXID the replica shows", s.applied.txid.raw());
  db.Gauge("runnel_replica_lag_commits", "Commits of the log not yet shown", s.LagCommits());
  if (s.applied.txid != Txid()) {
    db.Gauge("runnel_replica_lag_seconds",
             "Age of what the replica shows, 0 when it shows all the log is known to hold",
             std::chrono::duration<double>(s.Lag(now)).count());
  }
  if (s.head_seen_at.time_since_epoch().count() != 0) {
    db.Gauge("runnel_subscriber_head_age_seconds", "Time since the log last said anything, heartbeats included",
             std::chrono::duration<double>(now - s.head_seen_at).count());
  }
  db.Gauge("runnel_replica_latency_p50_seconds", "Capture to visible, median since start",
           std::chrono::duration<double>(s.latency.Quantile(0.5)).count());
  db.Gauge("runnel_replica_latency_p99_seconds", "Capture to visible, 99th percentile since start",
           std::chrono::duration<double>(s.latency.Quantile(0.99)).count());
  db.Count("runnel_replica_commits_total", "Source commits applied", s.commits);
  db.Count("runnel_replica_visible_commits_total", "Replica commits they became", s.visible_commits);
  db.Count("runnel_subscriber_duplicates_total", "LTX files received again", s.duplicates);
  db.Count("runnel_subscriber_damaged_messages_total", "Messages skipped because no envelope could be read",
           s.damaged_messages);
  db.Count("runnel_subscriber_gaps_total", "Gaps met", s.gaps);
  db.Count("runnel_subscriber_forks_total", "Forks met", s.forks);
  db.Count("runnel_subscriber_resyncs_total", "Resyncs begun", s.resyncs);
  db.Count("runnel_replica_repaired_pages_total", "Pages healed", s.repaired_pages);
  db.Gauge("runnel_replica_wal_frames", "Frames in the replica's WAL", s.replica.wal_frames);
  db.Gauge("runnel_replica_paused", "1 while applying pauses at the WAL limit", s.replica.paused ? 1 : 0);
  db.Count("runnel_replica_refused_commits_total", "Commits refused because their checksum was wrong",
           s.replica.refused_commits);
}

void UpdateMetrics(Metrics& metrics, const std::vector<bus::Statistic>& statistics) {
  for (const bus::Statistic& one : statistics) {
    if (one.is_total) {
      metrics.AddCounter("runnel_" + one.name, one.help, one.labels).RaiseTo(one.value);
    } else {
      metrics.AddGauge("runnel_" + one.name, one.help, one.labels).Set(one.value);
    }
  }
}

}  // namespace runnel::tools
