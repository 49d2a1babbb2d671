#include "ltx/base/metrics.h"

#include <gtest/gtest.h>

namespace runnel {
namespace {

TEST(Metrics, ShowsCountersAndGaugesWithTheirLabels) {
  Metrics metrics;
  Counter commits = metrics.AddCounter("runnel_publish_commits_total", "Commits published.", {{"db", "app"}});
  Gauge lag = metrics.AddGauge("runnel_apply_lag_seconds", "Lag.", {{"db", "a\"b"}});
  commits.Add();
  commits.Add(2);
  lag.Set(0.25);
  std::string text = metrics.Text();
  EXPECT_NE(text.find("# TYPE runnel_publish_commits_total counter\n"), std::string::npos) << text;
  EXPECT_NE(text.find("# HELP runnel_publish_commits_total Commits published.\n"), std::string::npos);
  EXPECT_NE(text.find("runnel_publish_commits_total{db=\"app\"} 3\n"), std::string::npos);
  EXPECT_NE(text.find("runnel_apply_lag_seconds{db=\"a\\\"b\"} 0.25\n"), std::string::npos);
}

TEST(Metrics, TheSameNameAndLabelsAreTheSameSeries) {
  Metrics metrics;
  metrics.AddCounter("runnel_x_total", "X.", {{"db", "a"}}).Add(1);
  metrics.AddCounter("runnel_x_total", "X.", {{"db", "a"}}).Add(1);
  metrics.AddCounter("runnel_x_total", "X.", {{"db", "b"}}).Add(5);
  std::string text = metrics.Text();
  EXPECT_NE(text.find("runnel_x_total{db=\"a\"} 2\n"), std::string::npos) << text;
  EXPECT_NE(text.find("runnel_x_total{db=\"b\"} 5\n"), std::string::npos);
  EXPECT_EQ(text.find("# TYPE runnel_x_total"), text.rfind("# TYPE runnel_x_total"));
}

TEST(Metrics, ACounterFollowsATotalAndNeverFalls) {
  Metrics metrics;
  Counter counter = metrics.AddCounter("runnel_x_total", "X.");
  counter.RaiseTo(10);
  counter.RaiseTo(4);
  EXPECT_EQ(counter.value(), 10);
}

TEST(Metrics, HistogramsCountBelowTheirBounds) {
  Metrics metrics;
  Histogram histogram = metrics.AddHistogram("runnel_ack_seconds", "Ack.", LatencyBuckets());
  histogram.Observe(0.002);
  histogram.Observe(50);
  std::string text = metrics.Text();
  EXPECT_NE(text.find("runnel_ack_seconds_bucket{le=\"0.001\"} 0\n"), std::string::npos) << text;
  EXPECT_NE(text.find("runnel_ack_seconds_bucket{le=\"0.003\"} 1\n"), std::string::npos);
  EXPECT_NE(text.find("runnel_ack_seconds_bucket{le=\"+Inf\"} 2\n"), std::string::npos);
  EXPECT_NE(text.find("runnel_ack_seconds_count 2\n"), std::string::npos);
}

TEST(Metrics, ValuesAreFetchedWhenSomebodyLooks) {
  Metrics metrics;
  Gauge gauge = metrics.AddGauge("runnel_wal_bytes", "WAL.");
  int wal_bytes = 1;
  metrics.OnScrape([&gauge, &wal_bytes] { gauge.Set(wal_bytes); });
  EXPECT_NE(metrics.Text().find("runnel_wal_bytes 1\n"), std::string::npos);
  wal_bytes = 2;
  EXPECT_NE(metrics.Text().find("runnel_wal_bytes 2\n"), std::string::npos);
}

TEST(MetricsDeathTest, AMalformedNameIsABugOfOurs) {
  Metrics metrics;
  EXPECT_DEATH(metrics.AddGauge("runnel wal", "WAL."), "runnel wal");
}

}  // namespace
}  // namespace runnel
