// One feed: from a log to a sink, for as long as it is wanted.
//
//   open        the log, the image in the state directory, the sink
//   bootstrap   no image yet, or another start was asked for: a snapshot of the log becomes the image, or one of the
//               archive, if there is one and it reaches further back
//   catch up    in silence, up to where events begin
//   snapshot    the rows of the image as events, if wanted
//   stream      commit after commit; those that the log has not got any more out of the archive's segments
//
// Trouble with bus or sink is waited out: everything is let go of and opened again, which is the same as a restart
// after a crash. Ends on stop, and on what a human must decide.
//
// THREAD: Run on one; Snapshot from any.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "bus/bus.h"
#include "bus/open.h"
#include "ltx/base/result.h"
#include "ltx/base/sync.h"
#include "subscriber/archive_source.h"
#include "subscriber/feed/feeder.h"
#include "subscriber/feed/sink.h"

namespace runnel::subscriber {

// Where events begin when there is no state to go on from, or in spite of it.
struct FeedStart {
  enum class Kind {
    kResume,    // where the feed or its sink ended; without either a snapshot of the newest image, then the stream
    kEarliest,  // a snapshot of the oldest image the log can give, then the stream
    kLatest,    // the commits behind the newest one
    kToken,     // the events behind this one
  };
  Kind kind = Kind::kResume;
  feed::Token token;
};
// "earliest", "latest" or a token. Errors: kInvalid.
Result<FeedStart> ParseFeedStart(std::string_view text);

// What a feed does with an image of commit `image` to begin like that. `newest`: where events begin, if not with the
// image.
feed::FeedState StateFor(const FeedStart& start, Txid image, Txid newest);

struct FeedConfig {
  std::string bus_url;
  std::string name;  // of the log; from the URL
  bus::OpenOptions bus;
  std::string archive_url;  // of the log; empty: none. What the log has not got any more is taken from it
  store::StoreOptions store;
  std::string state_dir;
  FeedStart start;
  bool start_only_new = false;       // `start` counts only where there is no state yet
  std::vector<std::string> include;  // globs of table names; empty: all ordinary tables
  std::vector<std::string> exclude;
  feed::EventFormat format = feed::EventFormat::kDebezium;
  std::string feed_name;  // source.name
  std::string version;
  uint64_t value_bytes_max = 0;
  bool schemas = false;
  bool keys = false;  // the sink wants keys
  bool once = false;  // end at what is the log's head at the start
  std::function<Result<std::unique_ptr<feed::Sink>>()> open_sink;
};

enum class FeedRunState { kConnecting, kBootstrapping, kStreaming, kStalled, kStopped };
std::string_view ToString(FeedRunState state);

struct FeedSnapshot {
  std::string name;  // of the log
  std::string feed;  // source.name of the events
  std::string bus;   // URL, redacted
  std::string sink;  // where events go, for people; empty until it was opened
  FeedRunState state = FeedRunState::kConnecting;
  std::string trouble;
  std::string lineage;         // hexadecimal; empty until an image is there
  Position head;               // the newest position of the log that is known of
  feed::FeederStats feeder;    // counts since the start of the process
  uint64_t errors = 0;         // times the feed had to begin again, or ended, by trouble
  uint64_t waiting_bytes = 0;  // that the sink has taken and not made safe yet
  uint64_t clients = 0;        // connected to the sink, where it knows

  uint64_t LagCommits() const;
  // Age of the newest commit told, while it is not the newest there is; max: nothing is told yet.
  std::chrono::milliseconds Lag(std::chrono::system_clock::time_point now) const;
};

class FeedRunner {
 public:
  // What a start means for the log as it is.
  struct Beginning {
    FeedStart start;
    feed::LineageId lineage{};
    Txid newest;  // the image must not be newer than this
  };

  explicit FeedRunner(FeedConfig config);
  ~FeedRunner();

  Status Run(std::stop_token stop);
  FeedSnapshot Snapshot() const;
  const FeedConfig& config() const { return config_; }

 private:
  Status Session(std::stop_token stop);
  Status Prepare(bus::Log& log, feed::FeedImage& image, feed::Sink& sink, feed::Feeder& feeder, std::stop_token stop);
  Status Bootstrap(bus::Log& log, feed::FeedImage& image, feed::Feeder& feeder, const FeedStart& start,
                   std::stop_token stop);
  Status BootstrapFromLog(bus::Log& log, feed::Feeder& feeder, const Beginning& beginning, std::stop_token stop);
  Status BootstrapFromArchive(ArchiveSource& archive, feed::FeedImage& image, feed::Feeder& feeder,
                              const Beginning& beginning, std::stop_token stop);
  Result<std::optional<ArchiveSource>> OpenArchive(const feed::LineageId& lineage, std::stop_token stop);
  Status FollowArchive(feed::FeedImage& image, feed::Feeder& feeder, std::stop_token stop);
  Status FollowLog(bus::Log& log, feed::FeedImage& image, feed::Feeder& feeder, std::stop_token stop);
  Result<Position> Take(feed::Feeder& feeder, const feed::FeedEntry& entry, std::stop_token stop);
  Status Follow(bus::Log& log, feed::FeedImage& image, feed::Feeder& feeder, std::stop_token stop);
  feed::FeederOptions Options() const;
  bool Reached(const feed::Feeder& feeder) const;
  void Report(FeedRunState state, const Status& trouble);
  void Publish(const feed::FeederStats& stats);
  void PublishNowAndThen(const feed::FeederStats& stats);
  void SeeHead(const Position& head);

  const FeedConfig config_;
  // Of the Run thread.
  bool started_ = false;  // the start that was asked for has been made
  bool progressed_ = false;
  std::optional<Txid> once_target_;
  FeedSnapshot stats_;
  feed::FeederStats before_;    // counts of the sessions before this one
  feed::Sink* sink_ = nullptr;  // of this session
  bool idle_ = true;            // nothing was there to tell at the last look
  std::chrono::steady_clock::time_point published_at_;

  mutable Mutex mutex_;
  FeedSnapshot snapshot_ GUARDED_BY(mutex_);
};

// Which tables such globs report: `*` any characters, `?` one; without case, as SQL names are.
bool WantsTable(const feed::TableDef& table, const std::vector<std::string>& include,
                const std::vector<std::string>& exclude);

}  // namespace runnel::subscriber
