// One restore: from an archive, from a log, or from an archive and on from the log.
//
//   resolve    which TXID is meant, how far the archive leads to it, what the log has to add
//   assemble   the archive's objects into a new file (subscriber/restore/)
//   replay     the log's commits behind them (log_replay.h)
//   finish     sync, rename
//
// I1  The output appears as a whole and proven, or not at all.
// I2  Nothing is asked of the log when the archive alone leads to the TXID asked for.
// THREAD: one.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "bus/bus.h"
#include "bus/open.h"
#include "ltx/base/result.h"
#include "ltx/base/time.h"
#include "ltx/format/types.h"
#include "subscriber/archive/store/open.h"
#include "subscriber/log_replay.h"
#include "subscriber/restore/catalog.h"

namespace runnel::subscriber {

struct RestoreRequest {
  std::optional<std::string> archive_url;
  std::optional<std::string> bus_url;  // at least one of both
  store::StoreOptions store;
  bus::OpenOptions bus;
  std::optional<Txid> txid;      // at most one of both; neither: the newest
  std::optional<WallTime> time;  // the newest commit at or before it
  std::string output;
  bool replace = false;
  // The work done so far and in all, in bytes; from the calling thread, often.
  std::function<void(uint64_t done, uint64_t total)> progress;
};

struct RestoreReport {
  Position position;
  WallTime commit_time;  // as noted by its source; Litestream: when it wrote the file
  PageSize page_size;
  uint32_t page_count = 0;
  uint64_t objects = 0;        // of the archive
  uint64_t archive_bytes = 0;  // read from it
  uint64_t log_files = 0;      // LTX files of the log, applied
  // Of what the archive had noted or the log proved; false for an archive of Litestream's: its files prove themselves,
  // but nothing says what the whole image should be.
  bool checksum_known = false;
};

class Restorer {
 public:
  // Opens the sources and finds out what is to be read. Errors: kInvalid (request, URLs, credentials); kNotFound (the
  // sources, or the asked TXID: names those around it that can be reached); kGap; kRefused (archive and log are of
  // different histories); the sources' own.
  static Result<std::unique_ptr<Restorer>> Open(RestoreRequest request, std::stop_token stop);

  // What Run will do, for people and programs.
  struct Step {
    std::string object;  // key; empty: the log
    Txid after;
    Txid upto;  // 0: as far as the log goes
    uint64_t bytes = 0;
  };
  const std::vector<Step>& steps() const { return steps_; }

  // DURABLE: the output. Errors: kRefused (the output is there); kExhausted (disk full); kCorrupt; the sources' own.
  Result<RestoreReport> Run();

 private:
  explicit Restorer(RestoreRequest request, std::stop_token stop)
      : request_(std::move(request)), stop_(std::move(stop)) {}

  Status OpenArchive(const std::string& url);
  Status OpenLog();
  Status Resolve();
  Status ResolveInArchive();
  Status ResolveInLog();
  Status PlanArchive(Txid target);
  Result<bool> FindSnapshotInLog();
  Result<bool> FollowReference();
  Result<bool> FindContinuation();
  Status CheckSameHistory();
  Status RunArchive(restore::OutputFile& output, RestoreReport& report, ReplayedImage& image);
  Status RunLog(restore::OutputFile& output, RestoreReport& report, ReplayedImage image);

  RestoreRequest request_;
  const std::stop_token stop_;
  std::unique_ptr<store::ObjectStore> store_;
  std::optional<restore::Catalog> catalog_;
  std::unique_ptr<bus::Log> log_;
  std::optional<restore::ArchivePlan> plan_;   // of the archive's part
  std::optional<bus::StreamSeq> replay_from_;  // of the log's part
  std::vector<Step> steps_;
};

}  // namespace runnel::subscriber
