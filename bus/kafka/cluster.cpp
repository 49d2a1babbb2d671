#include "bus/kafka/cluster.h"

#include <algorithm>

#include "bus/kafka/kafka_notes.h"

namespace runnel::bus::kafka {
namespace {

constexpr int kFetchBytes = 4 << 20;  // of each topic
// One fetch is on its way to a broker at a time, for all topics of a client: a topic that comes in addition waits for
// its end.
constexpr int kFetchWaitMs = 100;
constexpr int kQueueBackoffVersion = 0x020200ff;  // 2.2.0
// More topics than this go to another client: one thread decodes what one broker sends to a client.
constexpr size_t kTopicsPerReaderMax = 100;

// Logs with a producer of their own, and producers for all others.
constexpr size_t kOwnLanesMax = 4;
constexpr size_t kCrowdsMax = 4;
constexpr uint64_t kBatchBytes = 1'000'000;

Client::Properties ControlProperties() {
  return {{"isolation.level", "read_committed"},
          {"auto.offset.reset", "error"},
          {"enable.partition.eof", "true"},
          {"allow.auto.create.topics", "false"},
          // Looks are short: a fetch must not wait for messages, nor take much more than the look wants.
          {"fetch.wait.max.ms", "1"},
          {"fetch.error.backoff.ms", "50"},
          {"queued.max.messages.kbytes", "1024"}};
}

Client::Properties ReaderProperties() {
  Client::Properties properties = {{"isolation.level", "read_committed"},
                                   // Never jump: a place that is gone is an error to be told.
                                   {"auto.offset.reset", "error"},
                                   {"allow.auto.create.topics", "false"},
                                   {"fetch.error.backoff.ms", "50"},
                                   {"fetch.wait.max.ms", std::to_string(kFetchWaitMs)},
                                   {"fetch.message.max.bytes", std::to_string(kFetchBytes)},
                                   {"queued.max.messages.kbytes", std::to_string(Cluster::kPrefetchBytes / 1024)}};
  // How long the library waits before it looks again at a queue that was full; older ones are woken (kafka_reader.cpp).
  if (rd_kafka_version() >= kQueueBackoffVersion) properties.emplace_back("fetch.queue.backoff.ms", "10");
  return properties;
}

Result<std::shared_ptr<Client>> MakeConsumer(const Servers& servers, Client::Properties properties, bool statistics) {
  Client::Options options;
  options.type = RD_KAFKA_CONSUMER;
  options.properties = std::move(properties);
  options.statistics = statistics;
  TRY_ASSIGN(std::unique_ptr<Client> client, Client::Make(servers, std::move(options)));
  return std::shared_ptr<Client>(std::move(client));
}

}  // namespace

Cluster::Cluster(Servers servers) : servers_(std::move(servers)), notes_(std::make_unique<NotesWriter>(servers_)) {}
Cluster::~Cluster() = default;

std::shared_ptr<Cluster> Cluster::Of(const Servers& servers, Shared* shared) {
  if (shared == nullptr) return std::make_shared<Cluster>(servers);
  Servers common = servers;
  common.properties["client.id"] = "runnel";  // a log's own name for itself must not keep it from sharing
  std::string key = "kafka " + common.brokers + " " + std::to_string(common.timeout.count());
  for (const auto& [name, value] : common.properties) key += "\n" + name + "=" + value;
  return std::static_pointer_cast<Cluster>(shared->Get(key, [&] { return std::make_shared<Cluster>(common); }));
}

Result<std::shared_ptr<Client>> Cluster::Control() {
  const MutexLock lock(mutex_);
  if (control_ == nullptr) {
    TRY_ASSIGN(control_, MakeConsumer(servers_, ControlProperties(), false));
  }
  return control_;
}

Result<std::unique_ptr<Cluster::Lease>> Cluster::LeaseReader(const std::string& topic) {
  const MutexLock lock(mutex_);
  auto free = std::find_if(readers_.begin(), readers_.end(), [&](const Reader& reader) {
    return reader.topics.size() < kTopicsPerReaderMax &&
           std::find(reader.topics.begin(), reader.topics.end(), topic) == reader.topics.end();
  });
  if (free == readers_.end()) {
    TRY_ASSIGN(std::shared_ptr<Client> client, MakeConsumer(servers_, ReaderProperties(), true));
    readers_.push_back(Reader{std::move(client), {}});
    free = std::prev(readers_.end());
  }
  free->topics.push_back(topic);
  return std::make_unique<Lease>(*this, free->client, topic);
}

void Cluster::GiveBack(const Client& client, const std::string& topic) {
  std::shared_ptr<Client> idle;  // ends outside the lock: it joins its threads
  const MutexLock lock(mutex_);
  const auto used = std::find_if(readers_.begin(), readers_.end(),
                                 [&](const Reader& reader) { return reader.client.get() == &client; });
  if (used == readers_.end()) return;
  used->topics.erase(std::find(used->topics.begin(), used->topics.end(), topic));
  if (!used->topics.empty()) return;
  idle = std::move(used->client);
  readers_.erase(used);
}

Result<std::unique_ptr<Lane>> Cluster::LeaseLane(const std::string& topic, uint64_t topic_bytes_max) {
  // The topic's limit holds for a whole batch.
  TRY_ASSIGN(std::shared_ptr<LaneClient> client, PickLaneClient(std::min(kBatchBytes, topic_bytes_max * 9 / 10)));
  return Lane::Open(std::move(client), topic);
}

Result<std::shared_ptr<LaneClient>> Cluster::PickLaneClient(uint64_t batch_bytes) {
  std::vector<std::shared_ptr<LaneClient>> alive;  // looked at, and perhaps ended, outside the lock
  const MutexLock lock(mutex_);
  std::erase_if(lane_clients_, [&](const std::weak_ptr<LaneClient>& known) {
    alive.push_back(known.lock());
    return alive.back() == nullptr;
  });
  size_t own = 0;
  size_t crowds = 0;
  std::shared_ptr<LaneClient> emptiest;
  for (const std::shared_ptr<LaneClient>& client : alive) {
    if (client == nullptr) continue;
    if (client->options().own) {
      ++own;
    } else if (!client->broken() && client->options().batch_bytes == batch_bytes) {
      ++crowds;
      if (emptiest == nullptr || client->lane_count() < emptiest->lane_count()) emptiest = client;
    }
  }
  if (own >= kOwnLanesMax && crowds >= kCrowdsMax) return emptiest;
  LaneClient::Options options;
  options.batch_bytes = std::max<uint64_t>(batch_bytes, 1);
  options.own = own < kOwnLanesMax;
  TRY_ASSIGN(std::shared_ptr<LaneClient> opened, LaneClient::Open(servers_, options));
  lane_clients_.push_back(opened);
  return opened;
}

std::shared_ptr<Mutex> Cluster::LookLock(const std::string& topic) {
  const MutexLock lock(mutex_);
  std::weak_ptr<Mutex>& known = look_locks_[topic];
  std::shared_ptr<Mutex> look = known.lock();
  if (look == nullptr) known = look = std::make_shared<Mutex>();
  return look;
}

std::vector<Statistic> Cluster::Statistics() {
  std::vector<Statistic> statistics = {{"kafka_passed_over_records_total",
                                        "Records read that do not count: displaced, or a stranger's",
                                        {},
                                        static_cast<double>(passed_over_),
                                        true},
                                       {"kafka_reseats_total",
                                        "Times a leader went on behind records that displaced its own",
                                        {},
                                        static_cast<double>(reseats_),
                                        true}};
  std::vector<std::shared_ptr<LaneClient>> writers;  // released outside the lock: the last one ends its client
  const MutexLock lock(mutex_);
  int number = 0;
  for (const Reader& reader : readers_) {
    AppendStatistics("reader-" + std::to_string(++number), reader.client->numbers(), statistics);
  }
  number = 0;
  for (const std::weak_ptr<LaneClient>& known : lane_clients_) {
    writers.push_back(known.lock());
    if (writers.back() == nullptr) continue;
    AppendStatistics("writer-" + std::to_string(++number), writers.back()->client().numbers(), statistics);
  }
  for (Statistic& statistic : statistics) statistic.labels["brokers"] = servers_.brokers;
  return statistics;
}

}  // namespace runnel::bus::kafka
