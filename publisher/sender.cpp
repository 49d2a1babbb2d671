#include "publisher/sender.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <variant>

#include "ltx/base/check.h"

namespace runnel::publisher {
namespace {

// Markers of which nothing was heard; an older one does not arrive any more. A takeover tries a few dozen times, and
// waits for the log after the last.
constexpr size_t kUnheardMax = 64;

bus::CaptureTime Now() { return std::chrono::floor<std::chrono::microseconds>(std::chrono::system_clock::now()); }

}  // namespace

Sender::Sender(bus::Log& log, SenderOptions options) : log_(log), options_(std::move(options)) {}

Sender::~Sender() = default;

bus::Header Sender::MakeHeader(Txid min_txid, const Position& position) const {
  bus::Header header;
  header.lineage = lineage_;
  header.epoch = epoch_;
  header.database = options_.database;
  header.min_txid = min_txid;
  header.position = position;
  header.node = options_.node;
  header.captured_at = Now();
  header.page_size = options_.page_size;
  return header;
}

Status Sender::Lead(const LogHead& head, const bus::Lineage& lineage, bus::Epoch epoch_floor, const Position& position,
                    std::stop_token stop) {
  Abandon();
  lineage_ = lineage;
  epoch_ = std::max(head.lineage == lineage ? head.epoch : bus::Epoch(), epoch_floor).Next();
  bus::TakeOverDecision decision = [&](const std::optional<bus::Message>& tail) -> Result<std::optional<std::string>> {
    bus::StreamSeq seq = tail ? tail->seq : bus::StreamSeq();
    if (seq != (head.empty ? bus::StreamSeq() : head.tail_seq)) {
      return Error(Errc::kUnavailable, "the log moved on while it was being taken over");
    }
    unheard_.push_back(bus::Encode({MakeHeader(position.txid.Next(), position), bus::TakeOverMarker()}));
    if (unheard_.size() > kUnheardMax) unheard_.pop_front();
    return std::optional<std::string>(unheard_.back());
  };
  bus::WriterOptions writer_options;
  writer_options.inflight_messages_max = options_.inflight_messages_max;
  writer_options.inflight_bytes_max = options_.inflight_bytes_max;
  writer_options.on_progress = options_.on_progress;
  TRY_ASSIGN(writer_, log_.TakeOver(decision, writer_options, stop));
  unheard_.clear();
  end_ = {.txid = position.txid};
  return Ok();
}

// By its bytes: a rival that took over at the same moment may have the same epoch, but not the same name and clock.
Result<bool> Sender::TookOverUnheard(const LogHead& head) {
  if (head.empty || unheard_.empty()) return false;
  TRY_ASSIGN(const std::optional<bus::Message> last, log_.Get(head.tail_seq));
  return last && std::ranges::find(unheard_, last->payload) != unheard_.end();
}

void Sender::Abandon() {
  chunks_.reset();
  writer_.reset();
  gathered_.clear();
  gathered_bytes_ = 0;
  sent_.clear();
  collected_ = 0;
  inflight_bytes_ = 0;
  acked_ = Position();
  copy_ = nullptr;
}

bool Sender::HasRoom() const {
  if (copy_ != nullptr && !copy_->HasRoom()) return false;
  // One message less than the window, and half of the bytes: so that a full message never waits inside Append.
  return sent_.size() + 1 < options_.inflight_messages_max && inflight_bytes_ < options_.inflight_bytes_max / 2;
}

Status Sender::Append(bus::Envelope envelope, const Position& complete, std::stop_token stop) {
  TRY_ASSIGN(const LogEnd end, end_.After(envelope));
  const Result<LogEnd> copy_end = copy_ != nullptr ? copy_->end_.After(envelope) : LogEnd();
  const bool commits =
      std::holds_alternative<bus::Commits>(envelope.body) || std::holds_alternative<bus::Chunk>(envelope.body);
  std::string payload = packer_.Encode(std::move(envelope), std::chrono::steady_clock::now());
  std::string copy = copy_ != nullptr && commits ? payload : std::string();
  TRY(AppendPayload(std::move(payload), end, complete, stop));
  if (copy.empty()) return Ok();
  // The copy must have no holes: after the first trouble it gets nothing more.
  if (!copy_end.ok() || !copy_->AppendPayload(std::move(copy), *copy_end, complete, stop).ok()) copy_ = nullptr;
  return Ok();
}

Status Sender::AppendPayload(std::string payload, const LogEnd& end, const Position& complete, std::stop_token stop) {
  CHECK(writer_ != nullptr, "append without leadership");
  uint64_t bytes = payload.size();
  TRY(writer_->Append(std::move(payload), std::move(stop)));
  end_ = end;
  sent_.push_back({complete, bytes});
  inflight_bytes_ += bytes;
  CollectAcks();
  return Ok();
}

void Sender::CollectAcks() {
  uint64_t acked = writer_->acked();
  for (; collected_ < acked && !sent_.empty(); ++collected_) {
    if (sent_.front().complete.txid != Txid()) acked_ = sent_.front().complete;
    inflight_bytes_ -= sent_.front().bytes;
    sent_.pop_front();
  }
}

Status Sender::SendLtx(bus::Entry entry, const Position& after, std::stop_token stop) {
  gathered_bytes_ += entry.ltx.size();
  gathered_position_ = after;
  gathered_.push_back(std::move(entry));
  return gathered_bytes_ >= options_.message_bytes_target ? Flush(stop) : Ok();
}

Status Sender::Flush(std::stop_token stop) {
  if (gathered_.empty()) return Ok();
  bus::Envelope envelope{MakeHeader(gathered_.front().min_txid, gathered_position_),
                         bus::Commits{std::move(gathered_)}};
  gathered_ = {};
  gathered_bytes_ = 0;
  return Append(std::move(envelope), gathered_position_, stop);
}

Result<ltx::ByteSink*> Sender::BeginChunks(bus::Entry entry, std::stop_token stop) {
  TRY(Flush(stop));
  CHECK(writer_ != nullptr, "chunks without leadership");
  bus::Chunker::Options options;
  options.header = MakeHeader(entry.min_txid, Position());
  options.entry = std::move(entry);
  options.payload_bytes_max = writer_->payload_bytes_max();
  auto send = [this, stop = std::move(stop)](bus::Envelope envelope) -> Status {
    envelope.header.captured_at = Now();
    const bool last = std::get<bus::Chunk>(envelope.body).last;
    const Position complete = last ? envelope.header.position : Position();
    return Append(std::move(envelope), complete, stop);
  };
  TRY_ASSIGN(chunks_, bus::Chunker::Make(std::move(options), std::move(send)));
  return static_cast<ltx::ByteSink*>(&*chunks_);
}

Status Sender::FinishChunks(const Position& after, uint64_t ltx_checksum) {
  Status sent = chunks_->Finish(after.checksum, ltx_checksum);
  chunks_.reset();
  return sent;
}

Status Sender::SendHeartbeat(const Position& position, std::stop_token stop) {
  TRY(Flush(stop));
  return Append({MakeHeader(position.txid.Next(), position), bus::Heartbeat()}, Position(), stop);
}

Status Sender::SendReference(bus::SnapshotRef ref, const Position& position, std::stop_token stop) {
  TRY(Flush(stop));
  return Append({MakeHeader(position.txid.Next(), position), std::move(ref)}, Position(), stop);
}

Status Sender::SendStored(bus::Envelope envelope, std::stop_token stop) {
  envelope.header.lineage = lineage_;
  envelope.header.epoch = epoch_;
  const auto* chunk = std::get_if<bus::Chunk>(&envelope.body);
  const Position complete = chunk == nullptr || chunk->last ? envelope.header.position : Position();
  return Append(std::move(envelope), complete, stop);
}

const Position& Sender::acked_position() {
  if (writer_ != nullptr) CollectAcks();
  return acked_;
}

Status Sender::WaitAllAcked(std::chrono::steady_clock::time_point deadline) {
  TRY(error());
  Status waited = writer_->WaitAcked(collected_ + sent_.size(), deadline, std::stop_token());
  CollectAcks();
  return waited;
}

uint64_t Sender::inflight_messages() const { return sent_.size(); }

Status Sender::error() const {
  if (writer_ == nullptr) return Error(Errc::kUnavailable, "not leading the log");
  return writer_->error();
}

}  // namespace runnel::publisher
