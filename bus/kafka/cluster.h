// The clients that all logs of one cluster share: librdkafka's clients cost 2 threads and one per broker each, so one a
// log and purpose would be hundreds in a node with many databases.
//
//   control   one consumer client for the questions of all logs (topics, offsets, single records)
//   readers   consumer clients for LogReaders. librdkafka has one consumer per topic and client, so a second reader of
//   a topic
//             is given another client; without that one is enough
//   notes     one producer client for what nodes say of themselves (bus/kafka/kafka_notes.h), made with the first note
//   lanes     producer clients for the writers of fencing=marker (bus/kafka/lane.h). A transactional writer has a
//   producer of
//             its own, as Kafka fences it by that producer's name: at most 16 at a time (bus/kafka/transaction_pool.h)
//
// THREAD: any. LIFETIME: outlives what was leased from it.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "bus/kafka/client.h"
#include "bus/kafka/lane.h"
#include "bus/kafka/transaction_pool.h"
#include "bus/shared.h"
#include "ltx/base/sync.h"

namespace runnel::bus::kafka {

class NotesWriter;

class Cluster : public Shared::Part {
 public:
  // A topic on a client that nobody else reads it with. Given back with the object.
  class Lease {
   public:
    Lease(Cluster& cluster, std::shared_ptr<Client> client, std::string topic)
        : cluster_(cluster), client_(std::move(client)), topic_(std::move(topic)) {}
    ~Lease() { cluster_.GiveBack(*client_, topic_); }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    Client& client() { return *client_; }
    Cluster& cluster() { return cluster_; }

   private:
    Cluster& cluster_;
    const std::shared_ptr<Client> client_;
    const std::string topic_;
  };

  // Fetched ahead for each reader, at most (and one answer of the broker more).
  static constexpr uint64_t kPrefetchBytes = 16 << 20;

  explicit Cluster(Servers servers);
  ~Cluster() override;
  // The cluster of these servers in what the process shares; one of its own without that.
  static std::shared_ptr<Cluster> Of(const Servers& servers, Shared* shared);

  const Servers& servers() const { return servers_; }

  // No connection is made by either. Errors: kInvalid (librdkafka does not take a property).
  Result<std::shared_ptr<Client>> Control() EXCLUDES_LOCK(mutex_);
  Result<std::unique_ptr<Lease>> LeaseReader(const std::string& topic) EXCLUDES_LOCK(mutex_);
  // A place on a producer for a topic that takes batches of so many bytes; see lane.h for who shares one. Waits for the
  // cluster. Errors: as Lane::Open.
  Result<std::unique_ptr<Lane>> LeaseLane(const std::string& topic, uint64_t topic_bytes_max) EXCLUDES_LOCK(mutex_);
  // Writes the notes beside all logs.
  NotesWriter& notes() { return *notes_; }
  // What transactional writers share.
  const std::shared_ptr<TransactionPool>& transactions() const { return transactions_; }
  // Held while a topic is looked at through the control client.
  std::shared_ptr<Mutex> LookLock(const std::string& topic) EXCLUDES_LOCK(mutex_);

  std::vector<Statistic> Statistics() override EXCLUDES_LOCK(mutex_);
  void CountPassedOver() { ++passed_over_; }
  void CountReseat() { ++reseats_; }

 private:
  struct Reader {
    std::shared_ptr<Client> client;
    std::vector<std::string> topics;  // in use
  };
  Result<std::shared_ptr<LaneClient>> PickLaneClient(uint64_t batch_bytes) EXCLUDES_LOCK(mutex_);
  void GiveBack(const Client& client, const std::string& topic) EXCLUDES_LOCK(mutex_);

  const Servers servers_;
  std::atomic<uint64_t> passed_over_ = 0;
  std::atomic<uint64_t> reseats_ = 0;
  const std::unique_ptr<NotesWriter> notes_;
  const std::shared_ptr<TransactionPool> transactions_ = std::make_shared<TransactionPool>();
  Mutex mutex_;
  std::shared_ptr<Client> control_ GUARDED_BY(mutex_);
  std::vector<Reader> readers_ GUARDED_BY(mutex_);
  std::vector<std::weak_ptr<LaneClient>> lane_clients_ GUARDED_BY(mutex_);  // live as long as a lane of theirs
  std::map<std::string, std::weak_ptr<Mutex>> look_locks_ GUARDED_BY(mutex_);
};

}  // namespace runnel::bus::kafka
