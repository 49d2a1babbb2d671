// A real Kafka broker (KRaft, broker and controller in one process), or a cluster of three, on free loopback ports with
// storage of its own, from the jars and the formatted template of `tools/peers/get.sh kafka`.
//
// Ports and storage stay the same over Stop, Kill9 and Restart. All methods that change a node return once the change
// has happened (process gone; the broker itself answers with all brokers). A start takes 2.5-6 s and 150 MB. THREAD:
// one thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ltx/base/result.h"
#include "tests/support/child_process.h"
#include "tests/support/temp_dir.h"

namespace runnel::testing {

// The directory of the fetched version, e.g. Kafka("4.3.1"); nullopt when it was not fetched (or there is no java).
std::optional<std::filesystem::path> Kafka(const std::string& version);

class KafkaBroker {
 public:
  struct Options {
    std::filesystem::path home;  // from Kafka(version)
    size_t nodes = 1;
    std::string extra_properties = "";  // appended to each node's
    // "SASL_PLAINTEXT", ...: a second listener on a port of its own; its settings stand in extra_properties.
    std::string second_listener = "";
  };

  // Errors: kNotFound (no java), kTimeout (not ready in 60 s; the message ends with the broker's last lines).
  static Result<std::unique_ptr<KafkaBroker>> Start(Options options);

  // "127.0.0.1:9092,...": what stands between scheme and path of a URL.
  std::string hosts() const;
  std::string second_host() const;  // of the first node's second listener
  std::string Url(const std::string& name) const { return "kafka://" + hosts() + "/" + name; }

  void Stop(size_t node = 0);
  void Terminate(size_t node);  // as Stop, without waiting for its end
  void AwaitEnd(size_t node);
  void Kill9(size_t node = 0);
  void Pause(size_t node = 0) { nodes_[node].process->Freeze(); }
  void Resume(size_t node = 0) { nodes_[node].process->Thaw(); }
  Status Restart(size_t node = 0);  // REQUIRES: stopped or killed
  std::string LogText(size_t node = 0) const;

  // What an administrator, or a foreign program, does behind everybody's back. Errors: kUnavailable with Kafka's words.
  // `replicas` 0: as many as there are nodes, at most 3.
  Status CreateTopic(const std::string& topic, int partitions, const std::map<std::string, std::string>& settings,
                     int replicas = 0);
  Status DeleteTopic(const std::string& topic);
  Status Produce(const std::string& topic, const std::string& payload);
  struct Ends {
    int64_t visible = 0;  // as far as transactions have finished
    int64_t written = 0;
  };
  Result<Ends> EndsOf(const std::string& topic) const;
  // Number of the node (from 0) that leads partition 0.
  Result<size_t> Leader(const std::string& topic) const { return AskLeader(hosts(), topic); }
  // Nodes that hold partition 0, and of them those in sync.
  struct Replicas {
    std::vector<size_t> all;
    std::vector<size_t> in_sync;
  };
  Result<Replicas> ReplicasOf(const std::string& topic, size_t asked_node) const;
  // The same in the words of one of them.
  Result<size_t> LeaderSeenBy(size_t node, const std::string& topic) const;

 private:
  struct Node {
    uint16_t client_port = 0;
    uint16_t controller_port = 0;
    uint16_t second_port = 0;
    std::filesystem::path directory;
    std::unique_ptr<ChildProcess> process;
  };

  explicit KafkaBroker(Options options);
  static Result<size_t> AskLeader(const std::string& brokers, const std::string& topic);
  void WriteConfig(const Node& node, size_t index) const;
  Status Launch(Node& node);
  Status AwaitReady(Node& node);

  const Options options_;
  TempDir directory_;
  std::vector<Node> nodes_;
};

}  // namespace runnel::testing
