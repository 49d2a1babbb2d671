// What people's scripts read from us: the forms of log lines and metrics.
#include <string>

#include <gtest/gtest.h>

#include "ltx/base/log.h"
#include "ltx/base/metrics.h"
#include "tests/support/golden.h"

namespace runnel {
namespace {

TEST(Golden, LogLinesKeepTheirForm) {
  std::string lines;
  for (LogFormat format : {LogFormat::kText, LogFormat::kJson}) {
    lines += RenderLogLine(format, "2024-05-01T12:00:00.123456Z", Level::kInfo, "ltx_published",
                           {{"db", "app"}, {"max_txid", "00000000000003e8"}, {"bytes", 4120}, {"exact", true}}) +
             "\n";
    lines += RenderLogLine(format, "2024-05-01T12:00:00.123456Z", Level::kError, "publisher_stopped",
                           {{"db", "app"}, {"err", "page 7: checksum \"a\" expected \"b\""}, {"rate", 0.5}}) +
             "\n";
    lines += RenderLogLine(format, "2024-05-01T12:00:00.123456Z", Level::kDebug, "idle", {}) + "\n";
  }
  testing::ExpectGolden("base/log_lines.txt", lines);
}

TEST(Golden, MetricsKeepTheirForm) {
  Metrics metrics;
  metrics.AddCounter("runnel_publish_commits_total", "Commits published.", {{"db", "app"}}).Add(3);
  metrics.AddGauge("runnel_apply_lag_seconds", "Age of what the replica shows.", {{"db", "app"}}).Set(0.25);
  metrics.AddHistogram("runnel_publish_ack_seconds", "Capture to acknowledgement.", {0.001, 0.1}).Observe(0.01);
  testing::ExpectGolden("base/metrics.txt", metrics.Text());
}

}  // namespace
}  // namespace runnel
