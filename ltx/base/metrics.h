// Numbers about the process for Prometheus: counters, gauges and histograms by name and labels, and their text form.
//
// Names are runnel_<stage>_<what>_<unit>, counters end in _total; durations are in seconds. Asking twice for the same
// name and labels gives the same series. Values that live elsewhere (a snapshot of statistics) are copied in by an
// OnScrape function, so nothing on a hot path touches a metric that only mirrors one.
//
// THREAD: any. LIFETIME: handles must not be used after their Metrics.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace prometheus {
class Counter;
class Gauge;
class Histogram;
}  // namespace prometheus

namespace runnel {

using MetricLabels = std::map<std::string, std::string>;

class Counter {
 public:
  void Add(double amount = 1);  // REQUIRES: amount >= 0
  // Brings the counter to a total counted elsewhere; a smaller total than shown (the source started over) changes
  // nothing.
  void RaiseTo(double total);
  double value() const;

 private:
  friend class Metrics;
  explicit Counter(prometheus::Counter& counter) : counter_(&counter) {}
  prometheus::Counter* counter_;
};

class Gauge {
 public:
  void Set(double value);
  void Add(double amount);
  double value() const;

 private:
  friend class Metrics;
  explicit Gauge(prometheus::Gauge& gauge) : gauge_(&gauge) {}
  prometheus::Gauge* gauge_;
};

class Histogram {
 public:
  void Observe(double value);

 private:
  friend class Metrics;
  explicit Histogram(prometheus::Histogram& histogram) : histogram_(&histogram) {}
  prometheus::Histogram* histogram_;
};

// Upper bounds in seconds, from 100 us to 100 s, two a decade.
std::vector<double> LatencyBuckets();

class Metrics {
 public:
  Metrics();
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  // REQUIRES: names and label names are valid for Prometheus and keep their kind; they are ours, so this is CHECKed.
  Counter AddCounter(const std::string& name, const std::string& help, const MetricLabels& labels = {});
  Gauge AddGauge(const std::string& name, const std::string& help, const MetricLabels& labels = {});
  Histogram AddHistogram(const std::string& name, const std::string& help, const std::vector<double>& buckets,
                         const MetricLabels& labels = {});

  // Runs before each exposition, in the thread that asks for it; must be quick and must not call Text().
  void OnScrape(std::function<void()> update);

  // The Prometheus text format, version 0.0.4.
  std::string Text() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace runnel
