#include "ltx/base/metrics.h"

#include <exception>

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include "ltx/base/check.h"
#include "ltx/base/sync.h"

namespace runnel {

struct Metrics::State {
  prometheus::Registry registry;
  mutable Mutex mutex;
  std::vector<std::function<void()>> updates GUARDED_BY(mutex);
};

namespace {

// prometheus-cpp throws on malformed names. Names are written in our source, so that is a bug of ours.
template <typename Build>
auto& CheckedAdd(const std::string& name, Build build) {
  try {
    return build();
  } catch (const std::exception& error) {
    CheckFailed("metric name and labels are valid", name + ": " + error.what(), __FILE__, __LINE__);
  }
}

}  // namespace

void Counter::Add(double amount) { counter_->Increment(amount); }
void Counter::RaiseTo(double total) {
  double missing = total - counter_->Value();
  if (missing > 0) counter_->Increment(missing);
}
double Counter::value() const { return counter_->Value(); }

void Gauge::Set(double value) { gauge_->Set(value); }
void Gauge::Add(double amount) { gauge_->Increment(amount); }
double Gauge::value() const { return gauge_->Value(); }

void Histogram::Observe(double value) { histogram_->Observe(value); }

std::vector<double> LatencyBuckets() { return {0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100}; }

Metrics::Metrics() : state_(std::make_unique<State>()) {}
Metrics::~Metrics() = default;

Counter Metrics::AddCounter(const std::string& name, const std::string& help, const MetricLabels& labels) {
  return Counter(CheckedAdd(name, [&]() -> prometheus::Counter& {
    return prometheus::BuildCounter().Name(name).Help(help).Register(state_->registry).Add(labels);
  }));
}

Gauge Metrics::AddGauge(const std::string& name, const std::string& help, const MetricLabels& labels) {
  return Gauge(CheckedAdd(name, [&]() -> prometheus::Gauge& {
    return prometheus::BuildGauge().Name(name).Help(help).Register(state_->registry).Add(labels);
  }));
}

Histogram Metrics::AddHistogram(const std::string& name, const std::string& help, const std::vector<double>& buckets,
                                const MetricLabels& labels) {
  return Histogram(CheckedAdd(name, [&]() -> prometheus::Histogram& {
    return prometheus::BuildHistogram().Name(name).Help(help).Register(state_->registry).Add(labels, buckets);
  }));
}

void Metrics::OnScrape(std::function<void()> update) {
  MutexLock lock(state_->mutex);
  state_->updates.push_back(std::move(update));
}

std::string Metrics::Text() const {
  std::vector<std::function<void()>> updates;
  {
    MutexLock lock(state_->mutex);
    updates = state_->updates;
  }
  for (const std::function<void()>& update : updates) update();
  return prometheus::TextSerializer().Serialize(state_->registry.Collect());
}

}  // namespace runnel
