// The metrics of one thing (a database, a sink), set at each scrape from what it says of itself: all with its labels.
// LIFETIME: borrows the metrics.
#pragma once

#include <cstdint>
#include <utility>

#include "ltx/base/metrics.h"

namespace runnel::tools {

class LabelledMetrics {
 public:
  LabelledMetrics(Metrics& metrics, MetricLabels labels) : metrics_(metrics), labels_(std::move(labels)) {}

  void Count(const char* name, const char* help, uint64_t value) const {
    metrics_.AddCounter(name, help, labels_).RaiseTo(static_cast<double>(value));
  }
  void Gauge(const char* name, const char* help, double value) const {
    metrics_.AddGauge(name, help, labels_).Set(value);
  }

 private:
  Metrics& metrics_;
  const MetricLabels labels_;
};

}  // namespace runnel::tools
