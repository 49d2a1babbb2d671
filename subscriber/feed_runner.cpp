#include "subscriber/feed_runner.h"

#include <algorithm>
#include <utility>

#include "bus/envelope.h"
#include "bus/find.h"
#include "ltx/base/bytes.h"
#include "ltx/base/log.h"
#include "ltx/base/time.h"
#include "ltx/format/checksum.h"
#include "subscriber/feed/feed_image.h"
#include "subscriber/feed/glob.h"
#include "subscriber/feed_entries.h"
#include "subscriber/log_walk.h"

namespace runnel::subscriber {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kIdleWait{500};
// How old what a node shows of a busy feed may be.
constexpr milliseconds kPublishInterval{200};
// How often a feed that is behind asks the log where its end is.
constexpr milliseconds kHeadInterval{1000};
constexpr milliseconds kBackoffMin{50};
constexpr milliseconds kBackoffMax{5000};
// The same trouble at the same place: reading again did not help.
constexpr int kAttemptsMax = 4;

int64_t NowMs() {
  return std::chrono::floor<milliseconds>(std::chrono::system_clock::now()).time_since_epoch().count();
}

// The newest position and lineage of the log. Errors: kNotFound (empty).
Result<bus::Header> HeadOf(bus::Log& log) {
  TRY_ASSIGN(std::optional<bus::Message> tail, log.Tail());
  if (!tail) return Error(Errc::kNotFound, "the log is empty; waiting for its publisher");
  return bus::DecodeHeader(tail->payload);
}

// The newest commit that an image may hold from which what is behind the token can be told.
Txid ImageBefore(const feed::Token& token) {
  if (token.snapshot) return token.txid;
  return Txid(std::max<uint64_t>(token.txid.raw(), 1) - 1);
}

}  // namespace

feed::FeedState StateFor(const FeedStart& start, Txid image, Txid newest) {
  using Kind = FeedStart::Kind;
  feed::FeedState state;
  if (start.kind == Kind::kToken) {
    state.delivered = start.token;
    state.lineage = start.token.lineage;
  }
  state.target = start.kind == Kind::kEarliest ? image : newest;
  const bool behind = image < state.target;
  const bool rows = start.kind == Kind::kEarliest || start.kind == Kind::kResume ||
                    (start.kind == Kind::kToken && start.token.snapshot);
  state.phase = behind ? feed::Phase::kCatchUp : rows ? feed::Phase::kSnapshot : feed::Phase::kStream;
  state.snapshot_follows = behind && rows;
  return state;
}

Result<FeedStart> ParseFeedStart(std::string_view text) {
  if (text == "earliest") return FeedStart{FeedStart::Kind::kEarliest, {}};
  if (text == "latest") return FeedStart{FeedStart::Kind::kLatest, {}};
  std::optional<feed::Token> token = feed::ParseToken(text);
  if (token) return FeedStart{FeedStart::Kind::kToken, *token};
  return Error(Errc::kInvalid,
               "\"" + std::string(text) + "\" is neither earliest nor latest nor a token (lineage:txid:ordinal)");
}

bool WantsTable(const feed::TableDef& table, const std::vector<std::string>& include,
                const std::vector<std::string>& exclude) {
  auto matches = [&table](const std::string& glob) { return feed::GlobMatches(glob, table.name); };
  if (std::any_of(exclude.begin(), exclude.end(), matches)) return false;
  if (include.empty()) return table.kind == feed::TableDef::Kind::kOrdinary;
  // A pattern may mean SQLite's own tables only by writing their prefix out.
  if (table.kind == feed::TableDef::Kind::kInternal) {
    return std::any_of(include.begin(), include.end(),
                       [&](const std::string& glob) { return glob.starts_with("sqlite_") && matches(glob); });
  }
  if (table.kind == feed::TableDef::Kind::kShadow) {
    return std::find(include.begin(), include.end(), table.name) != include.end();
  }
  return std::any_of(include.begin(), include.end(), matches);
}

std::string_view ToString(FeedRunState state) {
  switch (state) {
    case FeedRunState::kConnecting: return "connecting";
    case FeedRunState::kBootstrapping: return "bootstrapping";
    case FeedRunState::kStreaming: return "streaming";
    case FeedRunState::kStalled: return "stalled";
    case FeedRunState::kStopped: return "stopped";
  }
  return "unknown";
}

uint64_t FeedSnapshot::LagCommits() const {
  const Txid told = feeder.position.txid;
  return head.txid > told ? head.txid.raw() - told.raw() : 0;
}

milliseconds FeedSnapshot::Lag(std::chrono::system_clock::time_point now) const {
  if (feeder.position.txid == Txid()) return milliseconds::max();
  if (LagCommits() == 0 || feeder.captured_ms == 0) return milliseconds(0);
  const int64_t now_ms = std::chrono::floor<milliseconds>(now).time_since_epoch().count();
  return milliseconds(std::max<int64_t>(0, now_ms - feeder.captured_ms));
}

FeedRunner::FeedRunner(FeedConfig config) : config_(std::move(config)) {
  stats_.name = config_.name;
  stats_.feed = config_.feed_name;
  stats_.bus = bus::RedactUrl(config_.bus_url);
  MutexLock lock(mutex_);
  snapshot_ = stats_;
}

FeedRunner::~FeedRunner() = default;

Status FeedRunner::Run(std::stop_token stop) {
  Backoff backoff(kBackoffMin, kBackoffMax);
  int attempts = 0;
  while (!stop.stop_requested()) {
    progressed_ = false;
    Status ended = Session(stop);
    sink_ = nullptr;
    before_ = stats_.feeder;
    if (ended.ok() || ended.code() == Errc::kCancelled) break;
    ++stats_.errors;
    if (progressed_) {
      backoff.Reset();
      attempts = 0;
    }
    switch (ended.code()) {
      case Errc::kRefused:
      case Errc::kInvalid:
      case Errc::kUnsupported:
      case Errc::kConflict: Report(FeedRunState::kStopped, ended); return ended;
      case Errc::kGap:
      case Errc::kCorrupt:
        if (++attempts < kAttemptsMax) break;
        Report(FeedRunState::kStopped, ended);
        return ended;
      default: break;
    }
    Report(FeedRunState::kStalled, ended);
    if (!SleepUntil(steady_clock::now() + backoff.Next(), stop).ok()) break;
  }
  Report(FeedRunState::kStopped, Ok());
  return Ok();
}

feed::FeederOptions FeedRunner::Options() const {
  feed::FeederOptions options;
  options.encoder.format = config_.format;
  options.encoder.version = config_.version;
  options.encoder.name = config_.feed_name;
  options.encoder.database = config_.name;
  options.encoder.value_bytes_max = config_.value_bytes_max;
  options.encoder.schemas = config_.schemas;
  options.encoder.keys = config_.keys;
  options.tables.wants = [this](const feed::TableDef& table) {
    return WantsTable(table, config_.include, config_.exclude);
  };
  std::string tables;
  for (const std::string& glob : config_.include) tables += "+" + glob + "\n";
  for (const std::string& glob : config_.exclude) tables += "-" + glob + "\n";
  ltx::Crc64 crc;
  crc.Update(AsBytes(tables));
  options.tables_fingerprint = crc.value();
  options.now_ms = NowMs;
  return options;
}

Status FeedRunner::Session(std::stop_token stop) {
  TRY_ASSIGN(std::unique_ptr<bus::Log> log, bus::OpenLog(config_.bus_url, config_.bus));
  TRY_ASSIGN(std::unique_ptr<feed::FeedImage> image, feed::FeedImage::Open(config_.state_dir));
  TRY_ASSIGN(std::unique_ptr<feed::Sink> sink, config_.open_sink());
  sink_ = sink.get();
  stats_.sink = sink->name();
  if (config_.once && !once_target_) {
    TRY_ASSIGN(bus::Header head, HeadOf(*log));
    once_target_ = head.position.txid;
  }
  feed::Feeder feeder(*image, *sink, Options());
  TRY(Prepare(*log, *image, *sink, feeder, stop));
  stats_.lineage = feed::ToString(image->state().lineage);
  Status started = feeder.Start(stop);
  Publish(feeder.stats());
  TRY(std::move(started));
  Report(FeedRunState::kStreaming, Ok());
  Status followed = Follow(*log, *image, feeder, stop);
  // What was told is made safe whatever ended it, so that a restart has less to do; the first error counts.
  if (followed.ok() || followed.code() == Errc::kCancelled || followed.code() == Errc::kCorrupt ||
      followed.code() == Errc::kUnsupported || followed.code() == Errc::kRefused) {
    Status settled = feeder.Settle({});
    if (followed.ok()) followed = settled;
  }
  Publish(feeder.stats());
  return followed;
}

// Makes sure that there is an image from which the wanted events can be told.
Status FeedRunner::Prepare(bus::Log& log, feed::FeedImage& image, feed::Sink& sink, feed::Feeder& feeder,
                           std::stop_token stop) {
  const feed::FeedState& state = image.state();
  bool begun = started_ || (config_.start_only_new && (!image.empty() || state.delivered));
  FeedStart start = begun ? FeedStart() : config_.start;
  if (start.kind == FeedStart::Kind::kResume && !image.empty() && !image.damaged()) return Ok();
  if (start.kind == FeedStart::Kind::kResume) {
    // No image, but perhaps a memory of what was delivered: in the state, or in the sink.
    std::optional<feed::Token> token = state.delivered;
    TRY_ASSIGN(std::optional<feed::Token> last, sink.LastToken(stop));
    if (last && (!token || *token < *last)) token = last;
    if (token) start = {FeedStart::Kind::kToken, *token};
    if (image.damaged()) {
      Log(Level::kWarn, "feed_image_damaged",
          {{"db", config_.name}, {"position", ToString(state.position)}, {"err", "made anew from the log"}});
    }
  }
  Report(FeedRunState::kBootstrapping, Ok());
  TRY(Bootstrap(log, image, feeder, start, std::move(stop)));
  started_ = true;
  return Ok();
}

Status FeedRunner::Bootstrap(bus::Log& log, feed::FeedImage& image, feed::Feeder& feeder, const FeedStart& start,
                             std::stop_token stop) {
  TRY_ASSIGN(bus::Header head, HeadOf(log));
  SeeHead(head.position);
  Beginning beginning{start, head.lineage.bytes, head.position.txid};
  if (start.kind == FeedStart::Kind::kToken) {
    if (start.token.lineage != head.lineage.bytes) {
      return Error(Errc::kRefused, "the token is of lineage " + feed::ToString(start.token.lineage) +
                                       ", the log of lineage " + ToString(head.lineage));
    }
    beginning.newest = ImageBefore(start.token);
  }
  auto by_archive = [&]() -> Status {
    TRY_ASSIGN(std::optional<ArchiveSource> archive, OpenArchive(beginning.lineage, stop));
    if (!archive) return Error(Errc::kNotFound, "there is none yet at its place");
    return BootstrapFromArchive(*archive, image, feeder, beginning, stop);
  };
  // Only the archive knows what was before the log's first message.
  const bool from_the_first = start.kind == FeedStart::Kind::kEarliest;
  if (from_the_first && !config_.archive_url.empty()) {
    Status made = by_archive();
    if (made.ok() || made.code() != Errc::kNotFound) return made.ok() ? made : Status(made.error().With("archive"));
  }
  Status by_log = BootstrapFromLog(log, feeder, beginning, stop);
  const bool falls_short = !by_log.ok() && (by_log.code() == Errc::kNotFound || by_log.code() == Errc::kGap ||
                                            by_log.code() == Errc::kRefused);
  if (!falls_short || from_the_first || config_.archive_url.empty()) return by_log;
  Status made = by_archive();
  return made.ok() ? made : Status(made.error().With(by_log.error().message() + "; archive"));
}

Status FeedRunner::BootstrapFromLog(bus::Log& log, feed::Feeder& feeder, const Beginning& beginning,
                                    std::stop_token stop) {
  const FeedStart& start = beginning.start;
  const bool from_the_first = start.kind == FeedStart::Kind::kEarliest;
  bus::StreamSeq from(1);
  if (!from_the_first) {
    TRY_ASSIGN(std::optional<bus::SnapshotPlace> place, bus::FindLastSnapshot(log, stop));
    if (!place) return Error(Errc::kNotFound, "the log holds no snapshot yet; waiting for its publisher to write one");
    if (place->txid <= beginning.newest) from = place->seq;
  }
  Status made = Error(Errc::kRefused, start.kind == FeedStart::Kind::kToken
                                          ? "the log holds no snapshot old enough for " + feed::ToString(start.token) +
                                                "; begin anew with --from earliest, or name its archive"
                                          : "the log holds no whole snapshot");
  auto look = [&](const WalkedLtx& ltx) -> Result<bool> {
    if (ltx.header.lineage.bytes != beginning.lineage || ltx.entry.min_txid != Txid(1)) return true;
    if (ltx.entry.max_txid > beginning.newest) return true;
    made = feeder.Bootstrap(FeedEntryOf(ltx.entry, ltx.header.lineage, ltx.source),
                            StateFor(start, ltx.entry.max_txid, beginning.newest));
    return !made.ok();  // a file whose publisher died inside it: look further
  };
  TRY(WalkLog(log, from, look, stop));
  return made;
}

bool FeedRunner::Reached(const feed::Feeder& feeder) const {
  return once_target_ && feeder.position().txid >= *once_target_;
}

Status FeedRunner::Follow(bus::Log& log, feed::FeedImage& image, feed::Feeder& feeder, std::stop_token stop) {
  while (true) {
    const Position before = feeder.position();
    Status followed = FollowLog(log, image, feeder, stop);
    if (followed.ok() || followed.code() != Errc::kGap || config_.archive_url.empty()) return followed;
    // The log was trimmed behind us. What is missing is archived, else it would not have been trimmed.
    Status by_archive = FollowArchive(image, feeder, stop);
    if (!by_archive.ok()) return by_archive.error().With(followed.error().message() + "; archive");
    if (Reached(feeder)) return Ok();
    if (feeder.position() == before) return followed;
  }
}

Result<Position> FeedRunner::Take(feed::Feeder& feeder, const feed::FeedEntry& entry, std::stop_token stop) {
  // Before the sink can make us wait: that there is something to tell must be seen.
  SeeHead({entry.max_txid, Checksum()});
  PublishNowAndThen(feeder.stats());
  TRY(feeder.Take(entry, std::move(stop)));
  progressed_ = true;
  return feeder.position();
}

Status FeedRunner::FollowLog(bus::Log& log, feed::FeedImage& image, feed::Feeder& feeder, std::stop_token stop) {
  TRY_ASSIGN(std::unique_ptr<FeedEntries> entries,
             FeedEntries::Open(log, image.state().lineage, feeder.position(), stop));
  auto take = [&](const feed::FeedEntry& entry) { return Take(feeder, entry, stop); };
  bool settled = true;
  steady_clock::time_point looked_at = steady_clock::now();
  while (!Reached(feeder)) {
    steady_clock::time_point now = steady_clock::now();
    Status next = entries->Next(settled ? now + kIdleWait : now, stop, take);
    if (next.ok()) {
      settled = false;
      // While behind, the messages do not say how far.
      if (now - looked_at >= kHeadInterval) {
        looked_at = now;
        if (Result<bus::Header> head = HeadOf(log); head.ok()) SeeHead(head->position);
      }
      continue;
    }
    if (next.code() != Errc::kTimeout) return next;
    if (!settled) TRY(feeder.Settle(stop));
    settled = true;
    idle_ = true;
    Publish(feeder.stats());
  }
  return Ok();
}

void FeedRunner::SeeHead(const Position& head) {
  if (head.txid > stats_.head.txid) stats_.head = head;
}

void FeedRunner::PublishNowAndThen(const feed::FeederStats& stats) {
  if (!idle_ && steady_clock::now() - published_at_ < kPublishInterval) return;
  idle_ = false;
  Publish(stats);
}

void FeedRunner::Publish(const feed::FeederStats& stats) {
  stats_.feeder = stats;
  stats_.feeder.commits += before_.commits;
  stats_.feeder.events += before_.events;
  stats_.feeder.rows += before_.rows;
  stats_.feeder.skipped_events += before_.skipped_events;
  stats_.feeder.ltx_files += before_.ltx_files;
  SeeHead(stats.position);
  if (sink_ != nullptr) {
    stats_.waiting_bytes = sink_->waiting_bytes();
    stats_.clients = sink_->clients();
  }
  published_at_ = steady_clock::now();
  MutexLock lock(mutex_);
  snapshot_ = stats_;
}

void FeedRunner::Report(FeedRunState state, const Status& trouble) {
  std::string text = trouble.ok() ? std::string() : trouble.error().message();
  if (stats_.state != state || stats_.trouble != text) {
    Level level = trouble.ok() ? Level::kInfo : state == FeedRunState::kStopped ? Level::kError : Level::kWarn;
    Log(level, "feed_" + std::string(ToString(state)),
        {{"db", config_.name}, {"position", ToString(stats_.feeder.position)}, {"err", text}});
  }
  stats_.state = state;
  stats_.trouble = text;
  MutexLock lock(mutex_);
  snapshot_ = stats_;
}

FeedSnapshot FeedRunner::Snapshot() const {
  MutexLock lock(mutex_);
  return snapshot_;
}

}  // namespace runnel::subscriber
