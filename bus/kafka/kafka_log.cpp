#include "bus/kafka/kafka_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <functional>
#include <random>

#include "bus/kafka/kafka_notes.h"
#include "bus/kafka/kafka_reader.h"
#include "bus/kafka/plain_writer.h"
#include "bus/kafka/transactional_writer.h"
#include "ltx/base/sync.h"

namespace runnel::bus::kafka {
namespace {

using std::chrono::milliseconds;

// Each displaced marker also displaces what the writer that came in between has on its way, so the end soon stands
// still.
constexpr int kTakeOverTries = 30;
// Longest random pause between two tries, doubled from 1 ms: rivals that displace each other in step would never end.
constexpr int kPauseMsMax = 64;
constexpr int kTransactionPauseMsMax = 256;  // a try with a new transactional producer takes ten times as long
// A message that is trimmed while we look for it is looked for again behind the new beginning.
constexpr int kLookTries = 5;
// Frame of a batch (61 bytes) and of a record with our header; the broker's limit holds for a whole batch.
constexpr uint64_t kHeadroomBytes = 512;
constexpr uint64_t kTopicBytesDefault = 1'048'588;  // Kafka's own default, when the settings may not be read

uint64_t RandomLeadership() {
  std::random_device device;
  uint64_t random = 0;
  while (random == 0) random = uint64_t{device()} << 32 | device();
  return random;
}

milliseconds PauseForRivals(int tries, int longest_ms) {
  const int pause_ms_max = std::min(1 << std::min(tries, 16), longest_ms);
  std::random_device device;
  return milliseconds(device() % static_cast<unsigned>(pause_ms_max + 1));
}

uint64_t TopicBytesMax(const TopicFacts& facts) {
  const auto setting = facts.settings.find("max.message.bytes");
  uint64_t bytes = kTopicBytesDefault;
  if (setting != facts.settings.end()) {
    std::from_chars(setting->second.data(), setting->second.data() + setting->second.size(), bytes);
  }
  return bytes;
}

class KafkaLog : public Log {
 public:
  KafkaLog(std::string database, Endpoint endpoint, std::shared_ptr<Cluster> cluster)
      : database_(std::move(database)), endpoint_(std::move(endpoint)), cluster_(std::move(cluster)) {}

  Result<LogInfo> Info() override;
  Status Create() override;
  Result<std::optional<Message>> Tail() override;
  Result<std::optional<Message>> Get(StreamSeq seq) override;
  Result<std::unique_ptr<LogWriter>> TakeOver(const TakeOverDecision& decision, WriterOptions options,
                                              std::stop_token stop) override;
  Result<std::unique_ptr<LogReader>> Read(StartAt start) override;
  Status TrimBefore(StreamSeq seq) override;
  Status PutNote(const Note& note) override;
  Result<std::vector<Note>> Notes() override;

 private:
  struct View {
    Watermarks marks;
    std::optional<Record> record;
  };

  static std::optional<Message> TailOf(View view) {
    if (!view.record.has_value()) return std::nullopt;
    return std::move(view.record->message);
  }

  Result<Inspector*> Control() EXCLUDES_LOCK(mutex_);
  Result<Inspector*> NotesControl() EXCLUDES_LOCK(mutex_);
  Status RefuseDangers(const TopicFacts& facts) const;
  // The end of the log and the last record in front of it.
  Result<View> LookAtTail(Inspector& inspector) const;
  Result<View> LookFrom(Inspector& inspector, Offset from) const;
  // Whether the marker counts.
  using PlaceMarker = std::function<Result<bool>(const Stamp& stamp, const std::string& marker)>;
  Result<bool> PlaceMarkerInTransaction(Inspector& inspector, Producer& producer, const Stamp& stamp,
                                        const std::string& marker, std::stop_token stop) const;
  // One attempt; nullopt when the log moved between the look and the marker.
  Result<std::optional<Place>> TryTakeOver(Inspector& inspector, const PlaceMarker& place_marker,
                                           const TakeOverDecision& decision, uint64_t topic_bytes_max) const;
  Result<std::unique_ptr<LogWriter>> TakeOverByMarker(Inspector& inspector, uint64_t topic_bytes_max,
                                                      const TakeOverDecision& decision, WriterOptions options,
                                                      std::stop_token stop) const;
  Result<std::unique_ptr<LogWriter>> TakeOverByTransaction(Inspector& inspector, uint64_t topic_bytes_max,
                                                           const TakeOverDecision& decision, WriterOptions options,
                                                           std::stop_token stop) const;
  Error Moving() const;

  const std::string database_;
  const Endpoint endpoint_;
  const std::shared_ptr<Cluster> cluster_;
  Mutex mutex_;
  // Made once, then they stay.
  std::unique_ptr<Inspector> inspector_ GUARDED_BY(mutex_);
  std::unique_ptr<Inspector> notes_inspector_ GUARDED_BY(mutex_);
};

Result<Inspector*> KafkaLog::Control() {
  const MutexLock lock(mutex_);
  if (inspector_ == nullptr) {
    TRY_ASSIGN(inspector_, Inspector::Make(endpoint_, cluster_));
  }
  return inspector_.get();
}

Result<Inspector*> KafkaLog::NotesControl() {
  const MutexLock lock(mutex_);
  if (notes_inspector_ == nullptr) {
    TRY_ASSIGN(notes_inspector_, Inspector::Make(NotesOf(endpoint_, database_), cluster_));
  }
  return notes_inspector_.get();
}

Status KafkaLog::RefuseDangers(const TopicFacts& facts) const {
  // More than one partition cannot be a log at all, whatever force says.
  const std::vector<std::string> dangers = JudgeTopic(facts, endpoint_.replicas);
  if (dangers.empty() || (endpoint_.force && facts.partition_count == 1)) return Ok();
  std::string text;
  for (const std::string& danger : dangers) text += (text.empty() ? "" : "; ") + danger;
  return Error(Errc::kRefused, fmt::format("topic {} endangers data: {}", endpoint_.topic, text));
}

Result<KafkaLog::View> KafkaLog::LookAtTail(Inspector& inspector) const {
  Status looked;
  for (int i = 0; i < kLookTries; ++i) {
    View view;
    TRY_ASSIGN(view.marks, inspector.Marks());
    Result<std::optional<Record>> last = inspector.LastIn(view.marks);
    if (last.ok()) {
      view.record = *std::move(last);
      return view;
    }
    if (last.code() != Errc::kGap) return last.error();
    looked = last.error();
  }
  return looked.error().As(Errc::kUnavailable);
}

Result<KafkaLog::View> KafkaLog::LookFrom(Inspector& inspector, Offset from) const {
  Status looked;
  for (int i = 0; i < kLookTries; ++i) {
    View view;
    TRY_ASSIGN(view.marks, inspector.Marks());
    Result<std::optional<Record>> first = inspector.FirstIn(std::max(from, view.marks.low), view.marks.end);
    if (first.ok()) {
      view.record = *std::move(first);
      return view;
    }
    if (first.code() != Errc::kGap) return first.error();
    looked = first.error();
  }
  return looked.error().As(Errc::kUnavailable);
}

Result<LogInfo> KafkaLog::Info() {
  TRY_ASSIGN(Inspector* const inspector, Control());
  TRY_ASSIGN(const TopicFacts facts, inspector->Facts());
  LogInfo info;
  info.adapter = "kafka";
  info.name = database_;
  info.location = fmt::format("kafka {} topic {}", endpoint_.brokers, endpoint_.topic);
  info.incarnation = Incarnation(facts);
  info.dangers = JudgeTopic(facts, endpoint_.replicas);
  if (facts.partition_count != 1) return info;
  TRY_ASSIGN(const View first, LookFrom(*inspector, 0));
  TRY_ASSIGN(const View last, LookAtTail(*inspector));
  // Trimmed to nothing, the newest message ever appended lies somewhere in front of the beginning.
  info.last_seq = last.record.has_value() ? last.record->message.seq : StreamSeq(static_cast<uint64_t>(last.marks.low));
  if (!first.record.has_value() || !last.record.has_value()) return info;
  info.first_seq = first.record->message.seq;
  info.message_count = info.last_seq.raw() - info.first_seq.raw() + 1;
  // Kafka tells sizes only to administrators of the brokers: the size of the newest message times their number.
  info.bytes = info.message_count * (last.record->message.payload.size() + kStampBytesMax);
  return info;
}

Status KafkaLog::Create() {
  TRY_ASSIGN(Inspector* const inspector, Control());
  const Result<TopicFacts> existing = inspector->Facts();
  if (existing.ok()) return RefuseDangers(*existing);
  if (existing.code() != Errc::kNotFound) return existing.error();
  const Status created = CreateTopic(inspector->client(), inspector->topic(), endpoint_);
  // kConflict: another process was faster, perhaps with other settings; they are judged below like ours.
  if (!created.ok() && created.code() != Errc::kConflict) return created;
  TRY_ASSIGN(const TopicFacts made, inspector->Facts());
  return RefuseDangers(made);
}

Result<std::optional<Message>> KafkaLog::Tail() {
  TRY_ASSIGN(Inspector* const inspector, Control());
  TRY(inspector->Exists());
  TRY_ASSIGN(View view, LookAtTail(*inspector));
  return TailOf(std::move(view));
}

Result<std::optional<Message>> KafkaLog::Get(StreamSeq seq) {
  TRY_ASSIGN(Inspector* const inspector, Control());
  TRY(inspector->Exists());
  TRY_ASSIGN(View view, LookFrom(*inspector, OffsetOf(std::max(seq, StreamSeq(1)))));
  return TailOf(std::move(view));
}

Result<bool> KafkaLog::PlaceMarkerInTransaction(Inspector& inspector, Producer& producer, const Stamp& stamp,
                                                const std::string& marker, std::stop_token stop) const {
  TRY(producer.Begin());
  const Result<Offset> offset = producer.SendAndWait(stamp, marker);
  if (!offset.ok() || *offset != stamp.offset) {
    producer.Abort();
    if (!offset.ok()) return offset.error();
    return false;
  }
  TRY(producer.Commit());
  TRY(AwaitVisible(inspector, stamp.offset, stop));
  return true;
}

Result<std::optional<Place>> KafkaLog::TryTakeOver(Inspector& inspector, const PlaceMarker& place_marker,
                                                   const TakeOverDecision& decision, uint64_t topic_bytes_max) const {
  TRY_ASSIGN(View view, LookAtTail(inspector));
  Place place;
  place.next = view.marks.end;
  place.leadership = RandomLeadership();
  place.topic_bytes_max = topic_bytes_max;
  place.payload_bytes_max = topic_bytes_max > kHeadroomBytes ? topic_bytes_max - kHeadroomBytes : 0;
  if (view.record.has_value()) place.previous = view.record->stamp.id();
  TRY_ASSIGN(const std::optional<std::string> marker, decision(TailOf(std::move(view))));
  if (!marker.has_value()) return std::optional<Place>(place);
  if (marker->size() > place.payload_bytes_max) {
    return Error(Errc::kInvalid, fmt::format("marker of {} bytes, topic {} takes {}", marker->size(), endpoint_.topic,
                                             place.payload_bytes_max));
  }
  Stamp stamp;
  stamp.is_marker = true;
  stamp.offset = place.next;
  stamp.leadership = place.leadership;
  stamp.previous = place.previous;
  TRY_ASSIGN(const bool counts, place_marker(stamp, *marker));
  if (!counts) return std::optional<Place>();
  place.previous = stamp.id();
  place.has_marker = true;
  // In a transaction the commit's control record takes the next offset.
  place.next = stamp.offset + (endpoint_.fencing == Fencing::kMarker ? 1 : 2);
  return std::optional<Place>(place);
}

Result<std::unique_ptr<LogWriter>> KafkaLog::TakeOver(const TakeOverDecision& decision, WriterOptions options,
                                                      std::stop_token stop) {
  TRY_ASSIGN(Inspector* const inspector, Control());
  TRY_ASSIGN(const TopicFacts facts, inspector->Facts());
  TRY(RefuseDangers(facts));
  if (endpoint_.fencing == Fencing::kMarker)
    return TakeOverByMarker(*inspector, TopicBytesMax(facts), decision, std::move(options), stop);
  return TakeOverByTransaction(*inspector, TopicBytesMax(facts), decision, std::move(options), stop);
}

Result<std::unique_ptr<LogWriter>> KafkaLog::TakeOverByMarker(Inspector& inspector, uint64_t topic_bytes_max,
                                                              const TakeOverDecision& decision, WriterOptions options,
                                                              std::stop_token stop) const {
  TRY_ASSIGN(std::unique_ptr<Lane> lane, cluster_->LeaseLane(endpoint_.topic, topic_bytes_max));
  const PlaceMarker place_marker = [&](const Stamp& stamp, const std::string& marker) -> Result<bool> {
    TRY_ASSIGN(const Offset offset, lane->SendAndWait(stamp, marker));
    return offset == stamp.offset;
  };
  for (int i = 0; i < kTakeOverTries; ++i) {
    if (i > 0) TRY(SleepUntil(DeadlineIn(PauseForRivals(i, kPauseMsMax)), stop));
    if (stop.stop_requested()) return Error(Errc::kCancelled, "take over topic " + endpoint_.topic);
    if (i == 1) {
      // Perhaps the open transaction of an earlier writer of the other kind lies behind the end that is visible: abort
      // it. Who may not do that (it takes rights on the transactional id) can still wait for its time-out.
      TRY_ASSIGN(const std::unique_ptr<TransactionPool::Seat> seat, cluster_->transactions()->TakeSeat(stop));
      const Result<std::unique_ptr<Producer>> ends_transactions =
          Producer::Open(endpoint_, {topic_bytes_max, options.inflight_messages_max, options.inflight_bytes_max});
    }
    TRY_ASSIGN(const std::optional<Place> place, TryTakeOver(inspector, place_marker, decision, topic_bytes_max));
    if (!place.has_value()) continue;
    return std::unique_ptr<LogWriter>(std::make_unique<PlainWriter>(inspector, std::move(lane), *place, options));
  }
  return Moving();
}

Result<std::unique_ptr<LogWriter>> KafkaLog::TakeOverByTransaction(Inspector& inspector, uint64_t topic_bytes_max,
                                                                   const TakeOverDecision& decision,
                                                                   WriterOptions options, std::stop_token stop) const {
  // Beginning transactions fences the present leader: asked first, so that a takeover that gives up leaves it alone.
  TRY_ASSIGN(View view, LookAtTail(inspector));
  TRY_ASSIGN(const std::optional<std::string> asked, decision(TailOf(std::move(view))));
  TRY_ASSIGN(std::unique_ptr<TransactionPool::Seat> seat, cluster_->transactions()->TakeSeat(stop));
  std::unique_ptr<Producer> producer;
  const PlaceMarker place_marker = [&](const Stamp& stamp, const std::string& marker) {
    return PlaceMarkerInTransaction(inspector, *producer, stamp, marker, stop);
  };
  for (int i = 0; i < kTakeOverTries; ++i) {
    if (i > 0) TRY(SleepUntil(DeadlineIn(PauseForRivals(i, kTransactionPauseMsMax)), stop));
    if (stop.stop_requested()) return Error(Errc::kCancelled, "take over topic " + endpoint_.topic);
    if (producer == nullptr) {
      TRY_ASSIGN(producer, Producer::Open(endpoint_, {topic_bytes_max, options.inflight_messages_max,
                                                      options.inflight_bytes_max}));
    }
    const Result<std::optional<Place>> place = TryTakeOver(inspector, place_marker, decision, topic_bytes_max);
    if (!place.ok()) {
      if (!producer->fenced()) return place.error();
      producer.reset();  // by a rival in the same position
      continue;
    }
    if (!place->has_value()) continue;
    return std::unique_ptr<LogWriter>(
        std::make_unique<TransactionalWriter>(inspector, std::move(seat), std::move(producer), **place, options));
  }
  return Moving();
}

Error KafkaLog::Moving() const {
  return Error(Errc::kUnavailable, fmt::format("topic {}: the log moved during each of {} tries to take it over",
                                               endpoint_.topic, kTakeOverTries));
}

Result<std::unique_ptr<LogReader>> KafkaLog::Read(StartAt start) {
  TRY_ASSIGN(Inspector* const inspector, Control());
  TRY_ASSIGN(const TopicFacts facts, inspector->Facts());
  TRY(RefuseDangers(facts));
  return KafkaReader::Open(*inspector, start);
}

Status KafkaLog::TrimBefore(StreamSeq seq) {
  TRY_ASSIGN(Inspector* const inspector, Control());
  TRY(inspector->Exists());
  TRY_ASSIGN(const Watermarks marks, inspector->Marks());
  const Offset before = std::min(OffsetOf(std::max(seq, StreamSeq(1))), marks.end);
  if (before <= marks.low) return Ok();
  return DeleteRecordsBefore(inspector->client(), endpoint_.topic, before);
}

Status KafkaLog::PutNote(const Note& note) {
  TRY_ASSIGN(Inspector* const inspector, NotesControl());
  return cluster_->notes().Put(*inspector, note);
}

Result<std::vector<Note>> KafkaLog::Notes() {
  TRY_ASSIGN(Inspector* const inspector, NotesControl());
  return ReadNotes(*inspector);
}

}  // namespace
}  // namespace runnel::bus::kafka

namespace runnel::bus {

Result<std::unique_ptr<Log>> OpenKafkaLog(const Url& url, const OpenOptions& options) {
  TRY_ASSIGN(kafka::Endpoint endpoint, kafka::MakeEndpoint(url, options));
  std::shared_ptr<kafka::Cluster> cluster = kafka::Cluster::Of(endpoint.servers(), options.shared.get());
  return std::unique_ptr<Log>(std::make_unique<kafka::KafkaLog>(url.name, std::move(endpoint), std::move(cluster)));
}

}  // namespace runnel::bus
