// damage_log FROM TO HOW TXID: copies a log message by message and spoils the one that holds the commit of TXID, as a
// bus that lies, a careless neighbour or a newer publisher would. What stands behind it is copied as it is.
//
//   ltx-flip   one bit within the commit's LTX, in an envelope that is well-formed
//   ltx-cut    the LTX lacks its last bytes, in an envelope that is well-formed
//   flip       the envelope's first bit
//   cut        half of the envelope
//   version    the envelope says a format version from the future
//   kind       in front of it: a message of a kind nobody knows
//   garbage    in front of it: a message that is no envelope
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "bus/envelope.h"
#include "bus/open.h"

namespace runnel::testing {
namespace {

constexpr size_t kVersionInHeader = 1;  // behind the tag of the header's first field

bool Holds(const bus::Envelope& envelope, Txid txid) {
  const auto* commits = std::get_if<bus::Commits>(&envelope.body);
  return commits != nullptr && commits->entries.front().min_txid <= txid && commits->entries.back().max_txid >= txid;
}

std::string SpoilLtx(bus::Envelope envelope, Txid txid, bool cut) {
  for (bus::Entry& entry : std::get<bus::Commits>(envelope.body).entries) {
    if (entry.max_txid < txid || entry.min_txid > txid) continue;
    if (cut) {
      entry.ltx.resize(entry.ltx.size() - 10);
    } else {
      entry.ltx[entry.ltx.size() / 2] ^= 1;
    }
  }
  return bus::Encode(envelope);
}

// What is written in the place of the message; empty: HOW is unknown.
std::vector<std::string> Spoil(const std::string& how, Txid txid, const bus::Envelope& envelope, std::string payload) {
  if (how == "ltx-flip" || how == "ltx-cut") return {SpoilLtx(envelope, txid, how == "ltx-cut")};
  if (how == "cut") return {payload.substr(0, payload.size() / 2)};
  if (how == "garbage") return {"this is no envelope", payload};
  if (how == "kind") return {bus::Encode({envelope.header, bus::UnknownKind{99}}), payload};
  if (how == "flip") {
    payload[0] ^= 1;
    return {payload};
  }
  if (how == "version") {
    size_t header = 1;  // behind the tag of the envelope's first field and its length
    while ((payload[header++] & 0x80) != 0) continue;
    payload[header + kVersionInHeader] = 99;
    return {payload};
  }
  return {};
}

Status Copy(const std::string& from, const std::string& to, const std::string& how, Txid txid) {
  TRY_ASSIGN(std::unique_ptr<bus::Log> source, bus::OpenLog(from, {}));
  TRY_ASSIGN(std::unique_ptr<bus::Log> target, bus::OpenLog(to, {}));
  TRY(target->Create());
  auto no_marker = [](const std::optional<bus::Message>&) -> Result<std::optional<std::string>> {
    return std::optional<std::string>();
  };
  TRY_ASSIGN(std::unique_ptr<bus::LogWriter> writer, target->TakeOver(no_marker, {}, {}));
  uint64_t written = 0;
  bool spoiled = false;
  bus::StreamSeq next(1);
  while (true) {
    TRY_ASSIGN(std::optional<bus::Message> message, source->Get(next));
    if (!message) break;
    next = message->seq.Next();
    std::vector<std::string> payloads = {message->payload};
    Result<bus::Envelope> envelope = bus::Decode(message->payload);
    if (envelope.ok() && !spoiled && Holds(*envelope, txid)) {
      payloads = Spoil(how, txid, *envelope, message->payload);
      if (payloads.empty()) return Error(Errc::kInvalid, "how? " + how);
      spoiled = true;
    }
    for (std::string& payload : payloads) {
      TRY(writer->Append(std::move(payload), {}));
      ++written;
    }
  }
  if (!spoiled) return Error(Errc::kNotFound, "no message holds the commit of TXID " + ToString(txid));
  return writer->WaitAcked(written, std::chrono::steady_clock::now() + std::chrono::seconds(10), {});
}

}  // namespace
}  // namespace runnel::testing

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fprintf(stderr, "usage: damage_log FROM TO HOW TXID\n");
    return 2;
  }
  runnel::Status copied =
      runnel::testing::Copy(argv[1], argv[2], argv[3], runnel::Txid(std::strtoull(argv[4], nullptr, 10)));
  if (!copied.ok()) std::fprintf(stderr, "damage_log: %s\n", copied.error().message().c_str());
  return copied.ok() ? 0 : 1;
}
