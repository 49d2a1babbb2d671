#include "subscriber/follower.h"

#include <algorithm>
#include <string>
#include <utility>
#include <variant>

#include "ltx/base/bytes.h"
#include "ltx/base/log.h"
#include "ltx/base/time.h"
#include "ltx/format/header.h"

namespace runnel::subscriber {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// While behind, this much is gathered into one visible commit.
constexpr uint64_t kPendingBytesMax = 8 << 20;
constexpr size_t kPendingCommitsMax = 4096;
// A message with at most this many commits, and nothing waiting behind it, is shown commit by commit.
constexpr size_t kSingleCommitsMax = 32;
constexpr milliseconds kIdleWait{500};
constexpr milliseconds kSnapshotInterval{20};
constexpr milliseconds kBackoffMin{50};
constexpr milliseconds kBackoffMax{5000};

// From the trailer, unverified: good enough to see whether the next LTX of the log continues this one.
Checksum PostApplyChecksumOf(const std::string& file) {
  return Checksum(LoadBe64(AsBytes(file).last(ltx::kTrailerBytes).data()));
}

bus::CaptureTime Now() { return std::chrono::floor<std::chrono::microseconds>(std::chrono::system_clock::now()); }

}  // namespace

std::string_view ToString(FollowerState state) {
  switch (state) {
    case FollowerState::kConnecting: return "connecting";
    case FollowerState::kBootstrapping: return "bootstrapping";
    case FollowerState::kFollowing: return "following";
    case FollowerState::kResyncing: return "resyncing";
    case FollowerState::kStalled: return "stalled";
    case FollowerState::kStopped: return "stopped";
  }
  return "unknown";
}

std::chrono::microseconds FollowerSnapshot::Lag(bus::CaptureTime now) const {
  if (applied.txid == Txid()) return std::chrono::microseconds::max();
  if (LagCommits() == 0) return std::chrono::microseconds(0);
  return std::max(std::chrono::microseconds(0), std::chrono::microseconds(now - applied_captured_at));
}

Follower::Follower(ReplicaConfig config) : config_(std::move(config)) {
  stats_.name = config_.name;
  stats_.path = config_.replica.path;
  stats_.bus = bus::RedactUrl(config_.bus_url);
  UpdateSnapshot();
}

Follower::~Follower() = default;

Status Follower::Run(std::stop_token stop) {
  Backoff backoff(kBackoffMin, kBackoffMax);
  bool connected = false;
  while (!stop.stop_requested()) {
    Status status = Ok();
    if (!connected) {
      status = Connect(stop);
      connected = status.ok();
    }
    if (connected && status.ok()) status = Turn(stop);
    if (status.ok()) {
      backoff.Reset();
      continue;
    }
    switch (status.code()) {
      case Errc::kCancelled: continue;
      case Errc::kRefused:
      case Errc::kInvalid:
      case Errc::kUnsupported: Report(FollowerState::kStopped, status); return status;
      case Errc::kGap:
      case Errc::kCorrupt:
        Resync(status.error().message());
        if (replica_ != nullptr) continue;
        break;  // a damaged snapshot: it would be read again at once, for ever
      case Errc::kUnavailable:
      case Errc::kTimeout:
      case Errc::kNotFound: Report(needs_heal_ ? FollowerState::kStalled : FollowerState::kConnecting, status); break;
      case Errc::kConflict:
      case Errc::kExhausted:
      case Errc::kIo:
        // The disk, or the replica's files changed under us: let go of everything, look again.
        Report(FollowerState::kStalled, status);
        pending_.clear();
        reader_.reset();
        replica_.reset();
        connected = false;
        break;
    }
    // A bootstrap that failed has to meet the snapshot again.
    if (replica_ == nullptr) {
      reader_.reset();
      interruption_.reset();
    }
    if (!SleepUntil(steady_clock::now() + backoff.Next(), stop).ok()) break;
  }
  if (replica_ != nullptr) {
    Status detached = replica_->Detach();
    if (!detached.ok()) Log(Level::kWarn, "detach_failed", {{"db", config_.name}, {"err", detached.error().message()}});
  }
  Report(FollowerState::kStopped, Ok());
  return Ok();
}

// One turn: take what is there; apply when nothing more waits or enough is gathered.
Status Follower::Turn(std::stop_token stop) {
  if (interruption_) {
    bus::Message message = std::move(*interruption_);
    interruption_.reset();
    return Handle(std::move(message), stop);
  }
  if (replica_ != nullptr) TRY(CheckStillThere());
  if (needs_heal_) return Heal(stop);
  if (reader_ == nullptr) TRY(OpenReader(stop));
  bool full = pending_bytes_ >= kPendingBytesMax || pending_.size() >= kPendingCommitsMax;
  if (full) return ApplyPending(stop);
  steady_clock::time_point now = steady_clock::now();
  Result<bus::Message> message = reader_->Next(pending_.empty() ? now + kIdleWait : now, stop);
  if (message.ok()) return Handle(std::move(*message), stop);
  if (message.code() != Errc::kTimeout) {
    TRY(ApplyPending(stop));
    return message.error();
  }
  if (!pending_.empty()) return ApplyPending(stop);
  return Idle(stop);
}

Status Follower::Handle(bus::Message message, std::stop_token stop) {
  Result<bus::Envelope> decoded = bus::Decode(message.payload);
  if (!decoded.ok() && decoded.code() == Errc::kCorrupt) {
    // Another program's message, or one of ours that the bus has damaged: what it may have held is missed at the next
    // one.
    ++stats_.damaged_messages;
    Log(Level::kWarn, "damaged_message_skipped",
        {{"db", config_.name}, {"seq", message.seq.raw()}, {"err", decoded.error().message()}});
    return Ok();
  }
  if (!decoded.ok()) return decoded.error().With("message " + std::to_string(message.seq.raw()));
  bus::Envelope envelope = std::move(*decoded);
  if (envelope.header.lineage == lineage_ && envelope.header.epoch < epoch_) return Ok();  // void: behind a takeover
  stats_.head_seen_at = Now();
  if (auto* commits = std::get_if<bus::Commits>(&envelope.body)) {
    return HandleCommits(envelope.header, std::move(*commits), stop);
  }
  TRY(ApplyPending(stop));
  if (std::holds_alternative<bus::Chunk>(envelope.body)) return HandleChunk(std::move(envelope), message.seq, stop);
  if (std::holds_alternative<bus::UnknownKind>(envelope.body)) {
    Log(Level::kWarn, "unknown_message_skipped", {{"db", config_.name}, {"seq", message.seq.raw()}});
    return Ok();
  }
  if (replica_ == nullptr && std::holds_alternative<bus::SnapshotRef>(envelope.body)) {
    reader_.reset();  // an image to begin with: opened anew, the log leads to it
    return Ok();
  }
  return HandlePosition(envelope.header);
}

// Heartbeats and takeover markers carry the publisher's position: silence is told apart from loss by them.
// REQUIRES: nothing is pending.
Status Follower::HandlePosition(const bus::Header& header) {
  if (replica_ == nullptr) return Ok();
  TRY(CheckHeader(header));
  stats_.head = header.position;
  const Position ours = stats_.applied;
  if (header.position.txid > ours.txid) {
    ++stats_.gaps;
    return Error(Errc::kGap, "the log is at " + ToString(header.position) + ", we are at " + ToString(ours) +
                                 " and nothing lies between");
  }
  if (header.position.txid == ours.txid && header.position.checksum != ours.checksum) {
    ++stats_.forks;
    return NeedsHeal("fork: the log is at " + ToString(header.position) + ", we are at " + ToString(ours));
  }
  return Ok();
}

// A message of another lineage: somebody cut the history on purpose, and our image belongs to the old one.
Status Follower::CheckLineage(const bus::Header& header) {
  if (header.lineage == lineage_) return Ok();
  return NeedsHeal("the log now belongs to lineage " + ToString(header.lineage) + ", ours was " + ToString(lineage_));
}

// Likewise, of a message that was read: older epochs are void from here on.
Status Follower::CheckHeader(const bus::Header& header) {
  TRY(CheckLineage(header));
  epoch_ = std::max(epoch_, header.epoch);
  return Ok();
}

Status Follower::NeedsHeal(std::string why) {
  needs_heal_ = true;
  return Error(Errc::kGap, std::move(why));
}

Position Follower::Expected() const { return pending_.empty() ? stats_.applied : pending_end_; }

Status Follower::HandleCommits(const bus::Header& header, bus::Commits commits, std::stop_token stop) {
  if (replica_ != nullptr) TRY(CheckHeader(header));
  stats_.head = header.position;
  ++pending_messages_;
  for (bus::Entry& entry : commits.entries) {
    if (entry.ltx.size() < ltx::kFileBytesMin) return Error(Errc::kCorrupt, "an LTX of the log is too short");
    TRY_ASSIGN(ltx::Header ltx_header, ltx::DecodeHeader(AsBytes(entry.ltx).first(ltx::kHeaderBytes)));
    if (replica_ == nullptr) {
      if (!ltx_header.IsSnapshot()) continue;
      ltx::BytesSource source(AsBytes(entry.ltx));
      TRY(ApplyOne(source, entry, header, true, stop));
      continue;
    }
    Admission admission = Admit(Expected(), ltx_header, entry.origin);
    if (admission == Admission::kNext) {
      pending_end_ = {entry.max_txid, PostApplyChecksumOf(entry.ltx)};
      pending_bytes_ += entry.ltx.size();
      pending_.push_back(std::move(entry));
    } else if (admission == Admission::kDuplicate) {
      ++stats_.duplicates;
    } else {
      TRY(ApplyPending(stop));
      TRY(NotNext(admission, entry, ltx_header));
      ltx::BytesSource source(AsBytes(entry.ltx));
      TRY(ApplyOne(source, entry, header, true, stop));
    }
  }
  return Ok();
}

// Ok only for an LTX that covers our position. REQUIRES: nothing is pending.
Status Follower::NotNext(Admission admission, const bus::Entry& entry, const ltx::Header& ltx_header) {
  if (admission == Admission::kCovers) return Ok();
  if (admission == Admission::kGap) {
    ++stats_.gaps;
    return Error(Errc::kGap, "TXID " + ToString(entry.min_txid) + " came, " + ToString(stats_.applied.txid.Next()) +
                                 " was to come");
  }
  ++stats_.forks;
  return NeedsHeal("fork: TXID " + ToString(entry.min_txid) + " was made from checksum " +
                   ToString(ltx_header.pre_apply_checksum) + ", we are at " + ToString(stats_.applied));
}

// REQUIRES: nothing is pending.
Status Follower::HandleChunk(bus::Envelope envelope, bus::StreamSeq seq, std::stop_token stop) {
  const auto& chunk = std::get<bus::Chunk>(envelope.body);
  if (chunk.index != 0) return Ok();  // the rest of an LTX whose beginning was passed over
  if (chunk.data.size() < ltx::kHeaderBytes) return Error(Errc::kCorrupt, "the first chunk of an LTX is too short");
  TRY_ASSIGN(ltx::Header ltx_header, ltx::DecodeHeader(AsBytes(chunk.data).first(ltx::kHeaderBytes)));
  bus::Entry entry = chunk.entry;
  bus::Header header = envelope.header;
  bool covers = true;
  if (replica_ == nullptr) {
    if (!ltx_header.IsSnapshot()) return Ok();
  } else {
    TRY(CheckHeader(header));
    Admission admission = Admit(stats_.applied, ltx_header, entry.origin);
    if (admission == Admission::kDuplicate) {
      ++stats_.duplicates;
      return Ok();
    }
    covers = admission != Admission::kNext;
    if (covers) TRY(NotNext(admission, entry, ltx_header));
  }
  bus::ChunkReader source(*reader_, seq, std::move(envelope), stop);
  Status applied = ApplyOne(source, entry, header, covers, stop);
  // The publisher died inside this LTX; what came instead says how it goes on.
  interruption_ = source.TakeInterruption();
  return interruption_ ? Ok() : applied;
}

Status Follower::ApplyOne(ltx::ByteSource& source, const bus::Entry& entry, const bus::Header& header, bool covers,
                          std::stop_token stop) {
  uint64_t commit_count = entry.origin == bus::Origin::kCommit || entry.origin == bus::Origin::kRange
                              ? entry.max_txid.raw() - entry.min_txid.raw() + 1
                              : 1;
  if (replica_ == nullptr) {
    TRY(Bootstrap(source, header));
  } else {
    TRY(Applier(*replica_, stop).Apply(source, covers));
  }
  if (entry.min_txid == Txid(1)) ++stats_.snapshots;
  Applied(replica_->state().at, commit_count, entry.captured_at);
  return Ok();
}

Status Follower::ApplyPending(std::stop_token stop) {
  if (pending_.empty()) return Ok();
  std::vector<bus::Entry> entries = std::move(pending_);
  pending_.clear();
  bool current = pending_messages_ <= 1 && entries.size() <= kSingleCommitsMax;
  pending_bytes_ = 0;
  pending_messages_ = 0;
  Applier applier(*replica_, std::move(stop));
  Status united = current ? Ok() : applier.ApplyUnion(entries);
  // One of them is damaged: those before it are good.
  if (!united.ok() && united.code() == Errc::kCorrupt) current = true;
  if (!current) {
    TRY(std::move(united));
    uint64_t commit_count = entries.back().max_txid.raw() - entries.front().min_txid.raw() + 1;
    for (size_t i = 0; i + 1 < entries.size(); ++i) stats_.latency.Add(Now() - entries[i].captured_at);
    Applied(replica_->state().at, commit_count, entries.back().captured_at);
  } else {
    for (const bus::Entry& entry : entries) {
      ltx::BytesSource source(AsBytes(entry.ltx));
      TRY(applier.Apply(source, false));
      Applied(replica_->state().at, entry.max_txid.raw() - entry.min_txid.raw() + 1, entry.captured_at);
    }
  }
  for (const bus::Entry& entry : entries) stats_.ltx_bytes += entry.ltx.size();
  return replica_->Maintain(steady_clock::now());
}

void Follower::Applied(const Position& position, uint64_t commit_count, bus::CaptureTime captured_at) {
  stats_.latency.Add(Now() - captured_at);
  stats_.commits += commit_count;
  ++stats_.visible_commits;
  stats_.applied = position;
  stats_.applied_captured_at = captured_at;
  if (stats_.head.txid < position.txid) stats_.head = position;
  if (stats_.state != FollowerState::kFollowing) Report(FollowerState::kFollowing, Ok());
  if (steady_clock::now() - reported_at_ >= kSnapshotInterval) UpdateSnapshot();
}

Status Follower::Idle(std::stop_token stop) {
  UpdateSnapshot();
  if (replica_ == nullptr) return Ok();
  TRY(replica_->Maintain(steady_clock::now()));
  return ScrubStep(std::move(stop));
}

void Follower::Report(FollowerState state, const Status& trouble) {
  std::string text = trouble.ok() ? std::string() : trouble.error().message();
  if (stats_.state != state || stats_.trouble != text) {
    Level level = trouble.ok() ? Level::kInfo : state == FollowerState::kStopped ? Level::kError : Level::kWarn;
    Log(level, "subscriber_" + std::string(ToString(state)),
        {{"db", config_.name}, {"position", ToString(stats_.applied)}, {"err", text}});
  }
  stats_.state = state;
  stats_.trouble = text;
  UpdateSnapshot();
}

void Follower::UpdateSnapshot() {
  reported_at_ = steady_clock::now();
  stats_.lineage = ToString(lineage_);
  stats_.epoch = epoch_.raw();
  if (replica_ != nullptr) stats_.replica = replica_->stats();
  {
    MutexLock lock(mutex_);
    snapshot_ = stats_;
    // Which image the file shows is not known yet: nobody may wait for it, or take it for current.
    if (replica_ != nullptr && !replica_->state().exact) snapshot_.applied = Position();
  }
  applied_.NotifyAll();
}

FollowerSnapshot Follower::Snapshot() const {
  MutexLock lock(mutex_);
  return snapshot_;
}

}  // namespace runnel::subscriber
