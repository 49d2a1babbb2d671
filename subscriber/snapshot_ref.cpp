#include "subscriber/snapshot_ref.h"

#include <chrono>
#include <memory>
#include <variant>

#include "bus/envelope.h"

namespace runnel::subscriber {
namespace {

// What lies in the log comes at once; a wait this long means that the bus has gone away.
constexpr std::chrono::seconds kNextWait{10};

}  // namespace

Result<std::optional<SnapshotRefPlace>> FindLastSnapshotRef(bus::Log& log, Txid at_most, std::optional<WallTime> time,
                                                            std::stop_token stop) {
  std::optional<SnapshotRefPlace> found;
  TRY_ASSIGN(const bus::LogInfo info, log.Info());
  TRY_ASSIGN(const std::unique_ptr<bus::LogReader> reader, log.Read(bus::FromEarliest{}));
  for (bus::StreamSeq seq; seq < info.last_seq;) {
    Result<bus::Message> message = reader->Next(DeadlineIn(kNextWait), stop);
    if (!message.ok() && message.code() == Errc::kTimeout) break;  // only what no reader sees is left
    if (!message.ok()) return message.error();
    seq = message->seq;
    Result<bus::Envelope> envelope = bus::Decode(message->payload);
    if (!envelope.ok()) continue;
    const auto* ref = std::get_if<bus::SnapshotRef>(&envelope->body);
    if (ref == nullptr || envelope->header.position.txid > at_most) continue;
    if (time && envelope->header.captured_at > *time) continue;
    found = SnapshotRefPlace{ref->url, envelope->header.position.txid};
  }
  return found;
}

}  // namespace runnel::subscriber
