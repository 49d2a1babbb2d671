// Everything needed to speak to a Kafka cluster about one log: from the URL and the options, checked, without a
// connection.
//
//   kafka://[user[:password]@]host[:port][,host[:port]...]/NAME[?key=value&...]
//
//   security.protocol       plaintext, ssl, sasl_plaintext, sasl_ssl
//                           default: sasl_ssl with a user, ssl with a TLS file, else plaintext
//   sasl.mechanism          PLAIN (default), SCRAM-SHA-256, SCRAM-SHA-512
//   fencing                 marker (default), transactional
//   transaction.timeout.ms  of a transactional writer, 1000 to 900000, default 10000: what it left open when it
//                           died holds back readers for so long, unless another writer takes over
//   max.message.bytes       of a topic this process makes, default 8 MiB
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>

#include "bus/open.h"
#include "bus/url.h"
#include "ltx/base/result.h"

namespace runnel::bus::kafka {

// How a writer keeps others out (bus/kafka/README.md).
enum class Fencing {
  kMarker,         // displaced records are passed over by every reader
  kTransactional,  // besides, every batch is a transaction, so that displaced records are aborted by their own writer
};

// A cluster and how to speak to it: what logs must agree in to share connections.
struct Servers {
  std::string brokers;                            // "host:port,host:port"
  std::map<std::string, std::string> properties;  // librdkafka's; holds secrets
  std::chrono::milliseconds timeout{5000};        // of one question to the cluster
  bool operator==(const Servers&) const = default;
};

struct Endpoint : Servers {
  std::string topic;
  Fencing fencing = Fencing::kMarker;
  std::chrono::milliseconds transaction_timeout{10'000};
  uint64_t message_bytes_max = 0;   // of a topic this process makes
  uint32_t replicas = 1;            // likewise
  std::chrono::hours retention{0};  // likewise
  bool force = false;               // accept a topic with dangerous settings
  const Servers& servers() const { return *this; }
};

// Errors: kInvalid, naming the part; secrets are never repeated.
Result<Endpoint> MakeEndpoint(const Url& url, const OpenOptions& options);

}  // namespace runnel::bus::kafka
