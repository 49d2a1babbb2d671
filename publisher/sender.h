// The publisher's end of the log: leads it, packs LTX files into messages, and knows up to which TXID the log has
// acknowledged. Keeps nothing that was sent: after any trouble the caller reads the head of the log, rewinds capture to
// it and sends again (the WAL is the outbox). What does not follow on what was sent before is refused with kGap
// (log_end.h).
//
// THREAD: the database's thread; on_progress (given at construction) is called from the bus's threads.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "bus/bus.h"
#include "bus/chunker.h"
#include "bus/envelope.h"
#include "bus/packer.h"
#include "ltx/base/result.h"
#include "ltx/format/encoder.h"
#include "publisher/log_end.h"
#include "publisher/log_head.h"

namespace runnel::publisher {

struct SenderOptions {
  std::string database;
  std::string node;
  PageSize page_size;
  uint32_t inflight_messages_max = 1024;
  uint64_t inflight_bytes_max = 16 << 20;
  // Many commits share a message up to this size, so that the bus's messages/s does not bound commits/s.
  uint64_t message_bytes_target = 256 << 10;
  std::function<void()> on_progress;
};

class Sender {
 public:
  Sender(bus::Log& log, SenderOptions options);
  ~Sender();

  // Takes the log over behind `head`, as `lineage`, with an epoch above every older one (`epoch_floor` as well).
  // DURABLE: the marker. Errors: kUnavailable, also when the log's tail is no longer `head`'s (read it again).
  Status Lead(const LogHead& head, const bus::Lineage& lineage, bus::Epoch epoch_floor, const Position& position,
              std::stop_token stop);
  // True when the log's very last message is a takeover of ours that was never answered. Then nobody else leads, and
  // nothing lies between it and the head it was made for.
  Result<bool> TookOverUnheard(const LogHead& head);
  bool leading() const { return writer_ != nullptr; }
  bus::Epoch epoch() const { return epoch_; }
  const bus::Lineage& lineage() const { return lineage_; }

  // Room for another message without waiting.
  bool HasRoom() const;

  // Adds a whole LTX to the message being gathered; sends the message when it is full. Waits only when there is no
  // room.
  Status SendLtx(bus::Entry entry, const Position& after, std::stop_token stop);
  // Sends what is gathered.
  Status Flush(std::stop_token stop);
  // A large LTX in chunks: write its bytes to the sink this returns, then FinishChunks. Nothing else may be sent
  // between.
  Result<ltx::ByteSink*> BeginChunks(bus::Entry entry, std::stop_token stop);
  Status FinishChunks(const Position& after, uint64_t ltx_checksum);
  Status SendHeartbeat(const Position& position, std::stop_token stop);
  // Where an image lies that a new subscriber can begin with; `position` is the log's.
  Status SendReference(bus::SnapshotRef ref, const Position& position, std::stop_token stop);
  // A message as it was stored in the backlog, restamped with this leadership.
  Status SendStored(bus::Envelope envelope, std::stop_token stop);

  // Newest position that is durable in the log, of those sent by this leadership; TXID 0 if none.
  const Position& acked_position();
  Txid acked() { return acked_position().txid; }
  // From now on commits are sent to `copy` too, as they are; nullptr ends it. Trouble with the copy ends it as well and
  // is not trouble of this sender. LIFETIME: the copy leads its log until then.
  void CopyTo(Sender* copy) { copy_ = copy; }
  bool copying() const { return copy_ != nullptr; }
  // Waits until everything sent is acknowledged. Errors: kTimeout, else error().
  Status WaitAllAcked(std::chrono::steady_clock::time_point deadline);
  uint64_t inflight_messages() const;
  uint64_t inflight_bytes() const { return inflight_bytes_; }
  // Ok while leading.
  Status error() const;
  // Drops the leadership; what is unacknowledged may or may not be in the log.
  void Abandon();

 private:
  bus::Header MakeHeader(Txid min_txid, const Position& position) const;
  // `complete`: the position the log has reached once the message is acked; TXID 0: it tells nothing.
  Status Append(bus::Envelope envelope, const Position& complete, std::stop_token stop);
  Status AppendPayload(std::string payload, const LogEnd& end, const Position& complete, std::stop_token stop);
  void CollectAcks();

  bus::Log& log_;
  SenderOptions options_;
  bus::Lineage lineage_;
  bus::Epoch epoch_;
  std::unique_ptr<bus::LogWriter> writer_;
  std::deque<std::string> unheard_;  // markers given to the log since it last let us lead, the newest last
  LogEnd end_;                       // of what was given to writer_
  bus::Packer packer_;
  std::vector<bus::Entry> gathered_;
  uint64_t gathered_bytes_ = 0;
  Position gathered_position_;
  struct Sent {
    Position complete;
    uint64_t bytes;
  };
  std::deque<Sent> sent_;   // not yet acked
  uint64_t collected_ = 0;  // messages of this writer whose acks were taken from sent_
  uint64_t inflight_bytes_ = 0;
  Position acked_;
  Sender* copy_ = nullptr;
  std::optional<bus::Chunker> chunks_;  // of the LTX that is being sent
};

}  // namespace runnel::publisher
