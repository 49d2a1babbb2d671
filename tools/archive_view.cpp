#include "tools/archive_view.h"

#include <chrono>
#include <utility>

#include "ltx/base/time.h"
#include "subscriber/archive/store/url.h"
#include "tools/labelled_metrics.h"

namespace runnel::tools {
namespace {

double SecondsSince(bus::CaptureTime time) {
  return std::chrono::duration<double>(SystemClock().Wall() - time).count();
}

nlohmann::json AllOf(const archive::Node& node) {
  nlohmann::json all = nlohmann::json::array();
  for (const archive::ArchiverSnapshot& snapshot : node.Snapshots()) all.push_back(ToJson(snapshot));
  return all;
}

}  // namespace

nlohmann::json ToJson(const archive::ArchiverSnapshot& s) {
  nlohmann::json json = {{"name", s.name},
                         {"bus", s.bus},
                         {"archive", s.archive},
                         {"state", ToString(s.state)},
                         {"trouble", s.trouble},
                         {"job_trouble", s.job_trouble},
                         {"lineage", s.lineage},
                         {"archived", ToString(s.archived)},
                         {"head", ToString(s.head)},
                         {"lag_commits", s.LagCommits()},
                         {"snapshot", ToString(s.snapshot)},
                         {"revision", s.revision},
                         {"objects", s.objects},
                         {"object_bytes", s.object_bytes},
                         {"pending_files", s.pending_files},
                         {"files", s.commits},
                         {"log_bytes", s.log_bytes},
                         {"puts", s.puts},
                         {"deletes", s.deletes},
                         {"merges", s.jobs},
                         {"merge_errors", s.job_errors},
                         {"merge_bytes_done", s.job_bytes},
                         {"merge_bytes_total", s.job_bytes_total},
                         {"errors", s.errors},
                         {"holes", s.holes},
                         {"swept", s.swept}};
  // No number is honest before there is a snapshot.
  const bool any = s.snapshot.txid != Txid();
  json["snapshot_age_s"] = any ? nlohmann::json(SecondsSince(s.snapshot_captured_at)) : nlohmann::json();
  return json;
}

void UpdateMetrics(Metrics& metrics, const archive::ArchiverSnapshot& s) {
  const LabelledMetrics db(metrics, {{"db", s.name}});
  db.Gauge("runnel_archive_following", "1 while the archive follows the log",
           s.state == archive::ArchiverState::kFollowing ? 1 : 0);
  db.Gauge("runnel_archive_archived_txid", "TXID up to which everything is archived", s.archived.txid.raw());
  db.Gauge("runnel_archive_lag_commits", "Commits of the log not yet archived", s.LagCommits());
  const bool lags = s.LagCommits() > 0 && s.archived.txid != Txid();
  db.Gauge("runnel_archive_lag_seconds", "Age of the newest archived commit while newer ones wait, else 0",
           lags ? SecondsSince(s.archived_captured_at) : 0);
  db.Gauge("runnel_archive_snapshot_txid", "TXID of the newest snapshot", s.snapshot.txid.raw());
  if (s.snapshot.txid != Txid()) {
    db.Gauge("runnel_archive_snapshot_age_seconds", "Age of what the newest snapshot shows",
             SecondsSince(s.snapshot_captured_at));
  }
  db.Gauge("runnel_archive_objects", "Objects the manifest names", s.objects);
  db.Gauge("runnel_archive_bytes", "Bytes of the objects the manifest names", s.object_bytes);
  db.Gauge("runnel_archive_pending_files", "LTX files gathered and not yet put", s.pending_files);
  db.Count("runnel_archive_files_total", "LTX files archived", s.commits);
  db.Count("runnel_archive_puts_total", "Objects put", s.puts);
  db.Count("runnel_archive_deletes_total", "Objects deleted", s.deletes);
  db.Count("runnel_archive_merges_total", "Levels, snapshots and joined segments made", s.jobs);
  db.Count("runnel_archive_merge_errors_total", "Merges that failed", s.job_errors);
  db.Count("runnel_archive_errors_total", "Times the archiver had to begin again", s.errors);
  db.Count("runnel_archive_holes_total", "Places where commits were in no log any more", s.holes);
}

Readiness ReadinessOf(const archive::ArchiverSnapshot& s) {
  if (s.state == archive::ArchiverState::kFollowing) return {};
  const std::string reason = "the archive of " + s.name + " is " + std::string(ToString(s.state));
  return {false, s.trouble.empty() ? reason : reason + ": " + s.trouble};
}

void AddArchives(NodeView& view, const archive::Node& node, const std::string& node_name) {
  view.status = [&node, node_name, before = std::move(view.status)] {
    nlohmann::json json = before ? before() : nlohmann::json{{"role", "archiver"}, {"node", node_name}};
    json["archives"] = AllOf(node);
    return json;
  };
  view.update_metrics = [&node, before = std::move(view.update_metrics)](Metrics& metrics) {
    if (before) before(metrics);
    for (const archive::ArchiverSnapshot& snapshot : node.Snapshots()) UpdateMetrics(metrics, snapshot);
  };
  if (view.positions) return;
  view.positions = [&node] {
    nlohmann::json positions = nlohmann::json::object();
    for (const archive::ArchiverSnapshot& snapshot : node.Snapshots())
      positions[snapshot.name] = ToString(snapshot.archived);
    return positions;
  };
  view.readiness = [&node] {
    for (const archive::ArchiverSnapshot& snapshot : node.Snapshots()) {
      Readiness readiness = ReadinessOf(snapshot);
      if (!readiness.ready) return readiness;
    }
    return Readiness();
  };
}

std::vector<Reported> ArchivesReportedBy(const archive::Node& node,
                                         const std::vector<archive::ArchiveConfig>& configs) {
  std::vector<Reported> reported;
  for (size_t i = 0; i < configs.size(); ++i) {
    const archive::ArchiveConfig& config = configs[i];
    auto status = [&node, i] {
      const archive::ArchiverSnapshot snapshot = node.Snapshots()[i];
      return nlohmann::json{{"state", ToString(snapshot.state)},
                            {"trouble", snapshot.trouble},
                            {"position", ToString(snapshot.archived)},
                            {"snapshot", ToString(snapshot.snapshot)}};
    };
    reported.push_back(
        {config.bus_url, config.bus, "archiver", config.node_name, store::RedactUrl(config.archive_url), status});
  }
  return reported;
}

}  // namespace runnel::tools
