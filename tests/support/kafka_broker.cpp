#include "tests/support/kafka_broker.h"

#include <fmt/format.h>
#include <librdkafka/rdkafka.h>
#include <signal.h>

#include <array>
#include <chrono>
#include <fstream>
#include <random>
#include <sstream>

#include "ltx/base/check.h"
#include "tests/support/free_port.h"
#include "tests/support/peers.h"

namespace runnel::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::chrono::seconds kReadyMax(150);  // three JVMs on a loaded machine
constexpr std::chrono::seconds kStopMax(30);
constexpr int kAskMs = 10'000;

std::string LastLines(const std::string& text, size_t bytes) {
  return text.size() <= bytes ? text : text.substr(text.size() - bytes);
}

std::string ReadFile(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// Equal directory ids of two nodes: one of them never registers.
std::string RandomDirectoryId() {
  constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
  std::random_device device;
  std::string text;
  for (int i = 0; i < 21; ++i) text.push_back(kAlphabet[device() % kAlphabet.size()]);
  return text + "A";  // 16 bytes in base64url: the last digit holds two bits only
}

// A client for one question.
struct Client {
  explicit Client(const std::string& brokers, rd_kafka_type_t type = RD_KAFKA_PRODUCER,
                  const std::map<std::string, std::string>& properties = {}) {
    std::array<char, 512> text = {};
    rd_kafka_conf_t* conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "bootstrap.servers", brokers.c_str(), text.data(), text.size());
    rd_kafka_conf_set(conf, "allow.auto.create.topics", "false", text.data(), text.size());
    for (const auto& [key, value] : properties) {
      rd_kafka_conf_set(conf, key.c_str(), value.c_str(), text.data(), text.size());
    }
    rd_kafka_conf_set_log_cb(conf, [](const rd_kafka_t*, int, const char*, const char*) {});
    rd_kafka_conf_set_dr_msg_cb(conf, [](rd_kafka_t*, const rd_kafka_message_t* message, void*) {
      *static_cast<rd_kafka_resp_err_t*>(message->_private) = message->err;
    });
    handle = rd_kafka_new(type, conf, text.data(), text.size());
    CHECK(handle != nullptr, text.data());
  }
  ~Client() { rd_kafka_destroy(handle); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  rd_kafka_t* handle = nullptr;
};

Status Unless(rd_kafka_resp_err_t code, const char* text) {
  if (code == RD_KAFKA_RESP_ERR_NO_ERROR) return Ok();
  return Error(Errc::kUnavailable, text != nullptr ? text : rd_kafka_err2str(code));
}

// How many brokers the one at this port lists.
int BrokersListed(uint16_t port) {
  Client client(fmt::format("127.0.0.1:{}", port));
  const struct rd_kafka_metadata* metadata = nullptr;
  if (rd_kafka_metadata(client.handle, 0, nullptr, &metadata, 1000) != RD_KAFKA_RESP_ERR_NO_ERROR) return 0;
  const int count = metadata->broker_cnt;
  rd_kafka_metadata_destroy(metadata);
  return count;
}

}  // namespace

std::optional<std::filesystem::path> Kafka(const std::string& version) {
  const std::optional<std::filesystem::path> template_directory = FindPeer("kafka-" + version, "template");
  if (!template_directory.has_value() || !FindProgram("java").has_value()) return std::nullopt;
  return template_directory->parent_path();
}

KafkaBroker::KafkaBroker(Options options) : options_(std::move(options)) {
  const std::vector<uint16_t> ports = FreePorts(3 * options_.nodes);
  for (size_t i = 0; i < options_.nodes; ++i) {
    Node node;
    node.client_port = ports[3 * i];
    node.controller_port = ports[3 * i + 1];
    node.second_port = ports[3 * i + 2];
    node.directory = directory_ / fmt::format("node{}", i + 1);
    nodes_.push_back(std::move(node));
  }
}

Result<std::unique_ptr<KafkaBroker>> KafkaBroker::Start(Options options) {
  std::unique_ptr<KafkaBroker> broker(new KafkaBroker(std::move(options)));
  for (size_t i = 0; i < broker->nodes_.size(); ++i) {
    broker->WriteConfig(broker->nodes_[i], i);
    TRY(broker->Launch(broker->nodes_[i]));
  }
  for (Node& node : broker->nodes_) TRY(broker->AwaitReady(node));
  return broker;
}

std::string KafkaBroker::hosts() const {
  std::string text;
  for (const Node& node : nodes_) text += fmt::format("{}127.0.0.1:{}", text.empty() ? "" : ",", node.client_port);
  return text;
}

std::string KafkaBroker::second_host() const { return fmt::format("127.0.0.1:{}", nodes_.front().second_port); }

void KafkaBroker::WriteConfig(const Node& node, size_t index) const {
  const std::filesystem::path data = node.directory / "data";
  std::filesystem::create_directories(data);
  std::filesystem::copy_file(options_.home / "template" / "bootstrap.checkpoint", data / "bootstrap.checkpoint");
  std::ofstream(data / "meta.properties") << fmt::format(
      "version=1\ncluster.id=cnVubmVsLXRlc3Qta2Fma2Ew\nnode.id={}\ndirectory.id={}\n", index + 1, RandomDirectoryId());
  std::string voters;
  for (size_t i = 0; i < nodes_.size(); ++i) {
    voters += fmt::format("{}{}@127.0.0.1:{}", i == 0 ? "" : ",", i + 1, nodes_[i].controller_port);
  }
  std::string advertised = fmt::format("PLAINTEXT://127.0.0.1:{}", node.client_port);
  if (!options_.second_listener.empty()) {
    advertised += fmt::format(",{}://127.0.0.1:{}", options_.second_listener, node.second_port);
  }
  const size_t replicas = std::min<size_t>(3, nodes_.size());
  std::ofstream file(node.directory / "server.properties");
  file << fmt::format("process.roles=broker,controller\nnode.id={}\ncontroller.quorum.voters={}\n", index + 1, voters);
  file << fmt::format("listeners={},CONTROLLER://127.0.0.1:{}\nadvertised.listeners={}\n", advertised,
                      node.controller_port, advertised);
  file << "controller.listener.names=CONTROLLER\ninter.broker.listener.name=PLAINTEXT\n"
          "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL,"
          "SASL_PLAINTEXT:SASL_PLAINTEXT\n";
  file << fmt::format("log.dirs={}\n", data.string());
  file << "num.network.threads=2\nnum.io.threads=2\nauto.create.topics.enable=false\nlog.cleaner.enable=false\n"
          "offsets.topic.num.partitions=1\ntransaction.state.log.num.partitions=1\nshare.coordinator.state.topic.num."
          "partitions=1\n"
          "group.initial.rebalance.delay.ms=0\n";
  // A dead broker is noticed after 9 s by default.
  file << "broker.session.timeout.ms=3000\nbroker.heartbeat.interval.ms=500\n";
  // What a dead writer left open is ended when its time is up, not at the next look 10 s later.
  file << "transaction.abort.timed.out.transaction.cleanup.interval.ms=500\n";
  for (const char* topic : {"offsets.topic", "transaction.state.log", "default", "share.coordinator.state.topic"}) {
    file << fmt::format("{}.replication.factor={}\n", topic, replicas);
  }
  file << fmt::format("transaction.state.log.min.isr={0}\nshare.coordinator.state.topic.min.isr={0}\n",
                      replicas > 1 ? 2 : 1);
  file << options_.extra_properties << "\n";
  CHECK(file.good(), "write server.properties");
}

Status KafkaBroker::Launch(Node& node) {
  ChildProcess::Options child;
  child.argv = {"java",
                "-Xms96m",
                "-Xmx384m",
                "-XX:+UseSerialGC",
                "-XX:TieredStopAtLevel=1",
                "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
                "-cp",
                (options_.home / "lib" / "*").string(),
                "kafka.Kafka",
                (node.directory / "server.properties").string()};
  child.output = node.directory / "log";
  TRY_ASSIGN(node.process, ChildProcess::Start(std::move(child)));
  return Ok();
}

Status KafkaBroker::AwaitReady(Node& node) {
  const steady_clock::time_point deadline = steady_clock::now() + kReadyMax;
  int expected = 0;
  for (const Node& other : nodes_) expected += other.process != nullptr && other.process->running() ? 1 : 0;
  while (BrokersListed(node.client_port) < expected) {
    const bool ended = node.process->Wait(milliseconds(50)).has_value();
    if (!ended && steady_clock::now() < deadline) continue;
    return Error(Errc::kTimeout, fmt::format("kafka broker {}: {}", ended ? "ended" : "is not ready",
                                             LastLines(ReadFile(node.directory / "log"), 1000)));
  }
  return Ok();
}

void KafkaBroker::Stop(size_t node) {
  Terminate(node);
  AwaitEnd(node);
}

void KafkaBroker::Terminate(size_t node) { nodes_[node].process->Kill(SIGTERM); }

void KafkaBroker::AwaitEnd(size_t node) {
  CHECK(nodes_[node].process->Wait(kStopMax).has_value(), "kafka does not stop");
}

void KafkaBroker::Kill9(size_t node) {
  nodes_[node].process->Kill(SIGKILL);
  CHECK(nodes_[node].process->Wait(kStopMax).has_value(), "kafka does not die");
}

Status KafkaBroker::Restart(size_t node) {
  CHECK(!nodes_[node].process->running(), "restart of a running node");
  TRY(Launch(nodes_[node]));
  return AwaitReady(nodes_[node]);
}

std::string KafkaBroker::LogText(size_t node) const { return ReadFile(nodes_[node].directory / "log"); }

Status KafkaBroker::CreateTopic(const std::string& topic, int partitions,
                                const std::map<std::string, std::string>& settings, int replicas) {
  Client client(hosts());
  std::array<char, 512> text = {};
  rd_kafka_NewTopic_t* wanted = rd_kafka_NewTopic_new(
      topic.c_str(), partitions, replicas != 0 ? replicas : static_cast<int>(std::min<size_t>(3, nodes_.size())),
      text.data(), text.size());
  for (const auto& [key, value] : settings) rd_kafka_NewTopic_set_config(wanted, key.c_str(), value.c_str());
  rd_kafka_queue_t* queue = rd_kafka_queue_new(client.handle);
  rd_kafka_CreateTopics(client.handle, &wanted, 1, nullptr, queue);
  rd_kafka_event_t* event = rd_kafka_queue_poll(queue, kAskMs);
  Status status = Error(Errc::kUnavailable, "no answer");
  if (event != nullptr) status = Unless(rd_kafka_event_error(event), rd_kafka_event_error_string(event));
  if (status.ok()) {
    size_t count = 0;
    const rd_kafka_topic_result_t** results =
        rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &count);
    status = Unless(rd_kafka_topic_result_error(results[0]), rd_kafka_topic_result_error_string(results[0]));
  }
  if (event != nullptr) rd_kafka_event_destroy(event);
  rd_kafka_queue_destroy(queue);
  rd_kafka_NewTopic_destroy(wanted);
  return status;
}

Status KafkaBroker::DeleteTopic(const std::string& topic) {
  Client client(hosts());
  rd_kafka_DeleteTopic_t* wanted = rd_kafka_DeleteTopic_new(topic.c_str());
  rd_kafka_queue_t* queue = rd_kafka_queue_new(client.handle);
  rd_kafka_DeleteTopics(client.handle, &wanted, 1, nullptr, queue);
  rd_kafka_event_t* event = rd_kafka_queue_poll(queue, kAskMs);
  Status status = Error(Errc::kUnavailable, "no answer");
  if (event != nullptr) status = Unless(rd_kafka_event_error(event), rd_kafka_event_error_string(event));
  if (status.ok()) {
    size_t count = 0;
    const rd_kafka_topic_result_t** results =
        rd_kafka_DeleteTopics_result_topics(rd_kafka_event_DeleteTopics_result(event), &count);
    status = Unless(rd_kafka_topic_result_error(results[0]), rd_kafka_topic_result_error_string(results[0]));
  }
  if (event != nullptr) rd_kafka_event_destroy(event);
  rd_kafka_queue_destroy(queue);
  rd_kafka_DeleteTopic_destroy(wanted);
  return status;
}

Status KafkaBroker::Produce(const std::string& topic, const std::string& payload) {
  rd_kafka_resp_err_t fate = RD_KAFKA_RESP_ERR__MSG_TIMED_OUT;
  Client client(hosts());
  const rd_kafka_resp_err_t code = rd_kafka_producev(
      client.handle, RD_KAFKA_V_TOPIC(topic.c_str()), RD_KAFKA_V_PARTITION(0), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
      RD_KAFKA_V_VALUE(const_cast<char*>(payload.data()), payload.size()), RD_KAFKA_V_OPAQUE(&fate), RD_KAFKA_V_END);
  TRY(Unless(code, nullptr));
  rd_kafka_flush(client.handle, kAskMs);
  return Unless(fate, nullptr);
}

Result<KafkaBroker::Ends> KafkaBroker::EndsOf(const std::string& topic) const {
  Ends ends;
  for (const auto& [isolation, end] :
       {std::pair{"read_committed", &ends.visible}, {"read_uncommitted", &ends.written}}) {
    Client client(hosts(), RD_KAFKA_CONSUMER, {{"isolation.level", isolation}});
    int64_t low = 0;
    TRY(Unless(rd_kafka_query_watermark_offsets(client.handle, topic.c_str(), 0, &low, end, kAskMs), nullptr));
  }
  return ends;
}

Result<KafkaBroker::Replicas> KafkaBroker::ReplicasOf(const std::string& topic, size_t asked_node) const {
  Client client(fmt::format("127.0.0.1:{}", nodes_[asked_node].client_port));
  rd_kafka_topic_t* handle = rd_kafka_topic_new(client.handle, topic.c_str(), nullptr);
  const struct rd_kafka_metadata* metadata = nullptr;
  const rd_kafka_resp_err_t code = rd_kafka_metadata(client.handle, 0, handle, &metadata, kAskMs);
  rd_kafka_topic_destroy(handle);
  TRY(Unless(code, nullptr));
  Replicas replicas;
  if (metadata->topic_cnt == 1 && metadata->topics[0].partition_cnt > 0) {
    const rd_kafka_metadata_partition& partition = metadata->topics[0].partitions[0];
    for (int i = 0; i < partition.replica_cnt; ++i)
      replicas.all.push_back(static_cast<size_t>(partition.replicas[i] - 1));
    for (int i = 0; i < partition.isr_cnt; ++i) replicas.in_sync.push_back(static_cast<size_t>(partition.isrs[i] - 1));
  }
  rd_kafka_metadata_destroy(metadata);
  return replicas;
}

Result<size_t> KafkaBroker::LeaderSeenBy(size_t node, const std::string& topic) const {
  return AskLeader(fmt::format("127.0.0.1:{}", nodes_[node].client_port), topic);
}

Result<size_t> KafkaBroker::AskLeader(const std::string& brokers, const std::string& topic) {
  Client client(brokers);
  rd_kafka_topic_t* handle = rd_kafka_topic_new(client.handle, topic.c_str(), nullptr);
  const struct rd_kafka_metadata* metadata = nullptr;
  const rd_kafka_resp_err_t code = rd_kafka_metadata(client.handle, 0, handle, &metadata, kAskMs);
  rd_kafka_topic_destroy(handle);
  TRY(Unless(code, nullptr));
  const int leader =
      metadata->topic_cnt == 1 && metadata->topics[0].partition_cnt > 0 ? metadata->topics[0].partitions[0].leader : -1;
  rd_kafka_metadata_destroy(metadata);
  if (leader < 1) return Error(Errc::kUnavailable, "no leader");
  return static_cast<size_t>(leader - 1);
}

}  // namespace runnel::testing
