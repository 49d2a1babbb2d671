#include "bus/shared.h"

namespace runnel::bus {

std::shared_ptr<Shared::Part> Shared::Get(const std::string& key, const std::function<std::shared_ptr<Part>()>& make) {
  const MutexLock lock(mutex_);
  std::shared_ptr<Part>& part = parts_[key];
  if (part == nullptr) part = make();
  return part;
}

std::vector<Statistic> Shared::Statistics() {
  std::vector<std::shared_ptr<Part>> parts;
  {
    const MutexLock lock(mutex_);
    for (const auto& [key, part] : parts_) parts.push_back(part);
  }
  std::vector<Statistic> statistics;
  for (const std::shared_ptr<Part>& part : parts) {
    for (Statistic& statistic : part->Statistics()) statistics.push_back(std::move(statistic));
  }
  return statistics;
}

}  // namespace runnel::bus
