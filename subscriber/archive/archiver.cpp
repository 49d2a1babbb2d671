#include "subscriber/archive/archiver.h"

#include <algorithm>
#include <utility>

#include "bus/url.h"
#include "ltx/base/crash_point.h"
#include "ltx/base/log.h"
#include "subscriber/archive/plan.h"
#include "subscriber/archive/store/url.h"

namespace runnel::archive {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

constexpr milliseconds kTurnWait{200};
constexpr milliseconds kCareInterval{1000};
// Each trim gives up a few segments at once.
constexpr int kTrimSegments = 6;
constexpr milliseconds kBackoffMin{100};
constexpr milliseconds kBackoffMax{10000};
// Of Once: what may be tried again without waiting for the world to change.
constexpr int kOnceTries = 5;
constexpr seconds kOnceQuiet{2};

bus::CaptureTime Now() { return std::chrono::floor<std::chrono::microseconds>(std::chrono::system_clock::now()); }

bool Ends(Errc code) { return code == Errc::kRefused || code == Errc::kInvalid || code == Errc::kUnsupported; }

}  // namespace

std::string_view ToString(ArchiverState state) {
  switch (state) {
    case ArchiverState::kConnecting: return "connecting";
    case ArchiverState::kWaiting: return "waiting";
    case ArchiverState::kFollowing: return "following";
    case ArchiverState::kStalled: return "stalled";
    case ArchiverState::kStopped: return "stopped";
  }
  return "unknown";
}

Archiver::Archiver(ArchiveConfig config) : config_(std::move(config)) {
  stats_.name = config_.name;
  stats_.bus = bus::RedactUrl(config_.bus_url);
  stats_.archive = store::RedactUrl(config_.archive_url);
  UpdateSnapshot();
}

Archiver::~Archiver() = default;

Status Archiver::Run(std::stop_token stop) {
  Backoff backoff(kBackoffMin, kBackoffMax);
  Status ended = Ok();
  while (!stop.stop_requested()) {
    Status status = catalog_ == nullptr ? Open(false) : Ok();
    if (status.ok()) status = Turn(stop);
    if (status.ok()) {
      backoff.Reset();
      continue;
    }
    if (status.code() == Errc::kCancelled) continue;
    if (Ends(status.code())) {
      ended = status;
      break;
    }
    TRY(Judge(status, backoff, stop));
  }
  if (ended.ok() && catalog_ != nullptr && lease_ != nullptr && lease_->held()) {
    worker_->Stop();
    Status left = TakeJob();
    if (left.ok()) left = Flush();
    if (!left.ok()) Log(Level::kWarn, "archiver_leaves_work", {{"db", config_.name}, {"err", left.error().message()}});
  }
  Forget();
  lease_.reset();
  Report(ArchiverState::kStopped, ended);
  return ended;
}

// After trouble: what is good is kept, the rest is asked for again. Errors: only those that end the archiver.
Status Archiver::Judge(const Status& status, Backoff& backoff, std::stop_token stop) {
  ++stats_.errors;
  const bool of_the_log = status.code() == Errc::kGap || status.code() == Errc::kCorrupt;
  if (of_the_log && catalog_ != nullptr) {
    Log(Level::kWarn, "archiver_locates_again", {{"db", config_.name}, {"err", status.error().message()}});
    Status flushed = Flush();
    if (flushed.ok()) {
      reader_.reset();
      return Ok();
    }
    if (Ends(flushed.code())) return flushed;
    Forget();
  } else if (status.code() == Errc::kNotFound && catalog_ != nullptr) {
    reader_.reset();  // the log cannot help yet; locate_tries_ stays
  } else {
    Forget();
  }
  Report(lease_ == nullptr ? ArchiverState::kWaiting : ArchiverState::kStalled, status);
  (void)SleepUntil(DeadlineIn(backoff.Next()), std::move(stop)).ok();
  return Ok();
}

// One turn: what is due first, then what the log has.
Status Archiver::Turn(std::stop_token stop) {
  if (!lease_->held()) return Error(Errc::kConflict, "another archiver has taken the lease of " + store_->location());
  const SteadyTime now = steady_clock::now();
  if (!pending_.empty() && now - pending_since_ >= config_.segment_interval) TRY(Flush());
  const bool care = now - cared_at_ >= kCareInterval;
  if (care) TRY(Care());
  const uint64_t jobs = stats_.jobs;
  TRY(TakeJob());
  if (care || stats_.jobs != jobs) StartJob();  // several may be due
  if (reader_ == nullptr) TRY(Locate(stop));
  if (interruption_) {
    bus::Message message = std::move(*interruption_);
    interruption_.reset();
    return Handle(std::move(message), std::move(stop));
  }
  Result<bus::Message> message = reader_->Next(DeadlineIn(kTurnWait), stop);
  if (message.ok()) return Handle(std::move(*message), std::move(stop));
  if (message.code() != Errc::kTimeout) return message.error();
  if (stats_.state != ArchiverState::kFollowing) Report(ArchiverState::kFollowing, Ok());
  return Ok();
}

// What time brings: retention, deletes, trimming.
Status Archiver::Care() {
  cared_at_ = steady_clock::now();
  const bus::CaptureTime now = Now();
  const std::vector<ObjectName> old = PlanRetention(catalog_->manifest(), config_, now);
  if (!old.empty()) {
    TRY(catalog_->Update([&](Manifest& manifest) {
      for (ArchivedObject& object : manifest.objects) {
        if (std::ranges::find(old, object.name) != old.end()) object.condemned_at = now;
      }
    }));
    CrashPoint("archive_condemned");
  }
  const std::vector<ObjectName> deletes = PlanDeletes(catalog_->manifest(), config_, now);
  if (!deletes.empty()) TRY(Delete(deletes));
  if (cared_at_ >= trim_at_) TRY(Trim());
  UpdateSnapshot();
  return Ok();
}

void Archiver::StartJob() {
  if (!worker_->idle() || steady_clock::now() < job_retry_at_) return;
  std::optional<Job> job = PlanNext(catalog_->manifest(), config_, Now());
  if (job) worker_->Start(catalog_->manifest(), std::move(*job));
}

Status Archiver::Delete(const std::vector<ObjectName>& names) {
  for (const ObjectName& name : names) {
    TRY(store_->Delete(catalog_->Key(name)));
    CrashPoint("archive_object_deleted");
  }
  TRY(catalog_->Update([&](Manifest& manifest) {
    std::erase_if(manifest.objects,
                  [&](const ArchivedObject& object) { return std::ranges::find(names, object.name) != names.end(); });
  }));
  CrashPoint("archive_deletes_forgotten");
  stats_.deletes += names.size();
  return Ok();
}

// Names what the worker has made, and condemns what it was made of.
Status Archiver::TakeJob() {
  std::optional<Worker::Done> done = worker_->Take();
  if (!done) return Ok();
  const Job& job = done->job;
  if (!done->made.ok()) {
    if (done->made.code() == Errc::kCancelled) return Ok();
    if (done->made.code() == Errc::kConflict || Ends(done->made.code())) return done->made.error();
    ++stats_.job_errors;
    stats_.job_trouble = done->made.error().message();
    const bool damaged = done->made.code() == Errc::kCorrupt;
    Log(damaged ? Level::kError : Level::kWarn, "archive_job_failed",
        {{"db", config_.name}, {"err", stats_.job_trouble}});
    job_retry_at_ = DeadlineIn(job_backoff_.Next());
    return Ok();
  }
  const ArchivedObject& made = *done->made;
  const bus::CaptureTime now = Now();
  TRY(catalog_->Update([&](Manifest& manifest) {
    if (job.kind != Job::Kind::kSnapshot) {
      for (ArchivedObject& object : manifest.objects) {
        const bool used =
            std::ranges::any_of(job.inputs, [&](const ArchivedObject& input) { return input.name == object.name; });
        if (used && !object.condemned()) object.condemned_at = now;
      }
    }
    manifest.Insert(made);
  }));
  CrashPoint("archive_job_named");
  job_backoff_.Reset();
  stats_.job_trouble.clear();
  ++stats_.jobs;
  ++stats_.puts;
  stats_.put_bytes += made.bytes;
  Log(job.kind == Job::Kind::kSnapshot ? Level::kInfo : Level::kDebug, "archive_job_done",
      {{"db", config_.name}, {"object", ToString(made.name)}, {"bytes", made.bytes}, {"reason", job.reason}});
  UpdateSnapshot();
  return Ok();
}

Status Archiver::Trim() {
  trim_at_ = DeadlineIn(config_.segment_interval * kTrimSegments);
  if (!config_.trim || incarnation_.empty() || incarnation_ != catalog_->manifest().incarnation) return Ok();
  bus::StreamSeq before = PlanTrim(catalog_->manifest(), config_, Now());
  // What new subscribers begin with stays until its publisher has written a newer one.
  if (reference_seq_ != bus::StreamSeq()) before = std::min(before, reference_seq_);
  if (before == bus::StreamSeq()) return Ok();
  TRY_ASSIGN(bus::LogInfo info, log_->Info());
  if (info.incarnation != incarnation_ || info.first_seq == bus::StreamSeq() || info.first_seq >= before) return Ok();
  TRY(log_->TrimBefore(before));
  Log(Level::kInfo, "log_trimmed", {{"db", config_.name}, {"seq", before.raw()}});
  return Ok();
}

Status Archiver::Once(OnceOptions options, std::stop_token stop) {
  Status status = Ok();
  for (int i = 0; i < kOnceTries; ++i) {
    status = catalog_ == nullptr ? Open(options.steal_lease) : Ok();
    if (status.ok()) status = CatchUp(stop);
    if (status.ok()) status = RunJobs(options, stop);
    if (status.ok() || stop.stop_requested()) break;
    if (status.code() == Errc::kGap || status.code() == Errc::kCorrupt) {
      if (catalog_ == nullptr || !Flush().ok()) Forget();
      reader_.reset();
    } else if (status.code() == Errc::kConflict) {
      Forget();
    } else {
      break;
    }
  }
  UpdateSnapshot();
  Forget();
  lease_.reset();
  Report(ArchiverState::kStopped, status);
  return status;
}

// Everything the log holds now.
Status Archiver::CatchUp(std::stop_token stop) {
  TRY_ASSIGN(bus::LogInfo info, log_->Info());
  SteadyTime quiet_until = DeadlineIn(kOnceQuiet);
  while (seen_seq_ < info.last_seq || interruption_) {
    const bus::StreamSeq seen = seen_seq_;
    TRY(Turn(stop));
    if (stop.stop_requested()) return Error(Errc::kCancelled, "stopped");
    if (seen_seq_ != seen || interruption_) quiet_until = DeadlineIn(kOnceQuiet);
    // Behind the last message there may be places that hold none.
    if (steady_clock::now() > quiet_until) break;
  }
  TRY(Flush());
  if (catalog_->manifest().position.txid == Txid()) {
    return Error(Errc::kNotFound, "the log holds no snapshot to begin with; a publisher that runs writes one");
  }
  if (behind_hole_) return Error(Errc::kNotFound, "the log holds no whole snapshot behind the hole");
  return Ok();
}

Status Archiver::RunJobs(const OnceOptions& options, std::stop_token stop) {
  bool asked = options.snapshot;
  const Position until = catalog_->manifest().position;
  while (true) {
    if (worker_->idle()) {
      const bus::CaptureTime now = Now();
      std::optional<Job> job = PlanNext(catalog_->manifest(), config_, now);
      if (!job && asked) job = PlanSnapshot(catalog_->manifest(), config_, now, true);
      if (!job) break;
      worker_->Start(catalog_->manifest(), std::move(*job));
    }
    while (!worker_->finished()) {
      if (!SleepUntil(DeadlineIn(milliseconds(20)), stop).ok()) return Error(Errc::kCancelled, "stopped");
      if (options.on_job) options.on_job(worker_->progress());
    }
    const uint64_t errors = stats_.job_errors;
    TRY(TakeJob());
    if (stats_.job_errors != errors) return Error(Errc::kIo, stats_.job_trouble);
  }
  const std::vector<ArchivedObject> snapshots = catalog_->manifest().Live(ObjectKind::kLevel, kSnapshotLevel);
  if (asked && (snapshots.empty() || snapshots.back().position() != until)) {
    return Error(Errc::kGap,
                 "no snapshot could be made: the archive does not lead from its newest one to " + ToString(until));
  }
  return Care();
}

void Archiver::Report(ArchiverState state, const Status& trouble) {
  const std::string text = trouble.ok() ? std::string() : trouble.error().message();
  if (stats_.state != state || stats_.trouble != text) {
    const Level level = trouble.ok() ? Level::kInfo : state == ArchiverState::kStopped ? Level::kError : Level::kWarn;
    Log(level, "archiver_" + std::string(ToString(state)),
        {{"db", config_.name}, {"position", ToString(stats_.archived)}, {"err", text}});
  }
  stats_.state = state;
  stats_.trouble = text;
  UpdateSnapshot();
}

void Archiver::ShowManifest(const Manifest& manifest) {
  stats_.lineage = ToString(manifest.lineage);
  stats_.archived = manifest.position;
  stats_.archived_captured_at = manifest.captured_at;
  stats_.revision = manifest.revision;
  stats_.objects = manifest.objects.size();
  stats_.object_bytes = 0;
  for (const ArchivedObject& object : manifest.objects) {
    stats_.object_bytes += object.bytes;
    const bool snapshot = object.name.kind == ObjectKind::kLevel && object.name.level == kSnapshotLevel;
    if (!snapshot || object.condemned()) continue;
    stats_.snapshot = object.position();
    stats_.snapshot_captured_at = object.captured_at;
  }
}

void Archiver::UpdateSnapshot() {
  if (catalog_ != nullptr) ShowManifest(catalog_->manifest());
  if (worker_ != nullptr) {
    const Worker::Progress progress = worker_->progress();
    stats_.job_bytes = progress.bytes;
    stats_.job_bytes_total = progress.total;
  }
  MutexLock lock(mutex_);
  snapshot_ = stats_;
}

ArchiverSnapshot Archiver::Snapshot() const {
  MutexLock lock(mutex_);
  return snapshot_;
}

}  // namespace runnel::archive
