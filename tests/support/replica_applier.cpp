// Applies the commits of a file (tests/support/commit_source.h) to a replica, from wherever the replica stands; made to
// be killed. Exit codes: 0 all applied and detached; 9 the replica's state is not what the commits say; 1 any other
// error (printed).
//
//   replica_applier REPLICA COMMITS [--sync off|normal|full] [--rate N] [--checkpoint-frames N] [--wal-limit BYTES]
//                   [--batch N] [--tear-header-at N] [--stay]
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "ltx/sqlite/live/live_db.h"
#include "subscriber/replica/image.h"
#include "subscriber/replica/replica.h"
#include "tests/support/commit_source.h"

namespace runnel::testing {
namespace {

struct Options {
  std::string commits;
  replica::ReplicaOptions replica;
  unsigned rate = 0;
  size_t batch = 1;
  size_t tear_header_at = 0;
  bool stay = false;
};

Options Parse(int argc, char** argv) {
  Options options;
  options.replica.path = argv[1];
  options.commits = argv[2];
  for (int i = 3; i < argc; ++i) {
    std::string flag = argv[i];
    if (flag == "--stay") {
      options.stay = true;
      continue;
    }
    std::string value = i + 1 < argc ? argv[++i] : "";
    unsigned number = static_cast<unsigned>(std::atoi(value.c_str()));
    if (flag == "--sync") {
      options.replica.sync = value == "off"    ? replica::SyncMode::kOff
                             : value == "full" ? replica::SyncMode::kFull
                                               : replica::SyncMode::kNormal;
    }
    if (flag == "--rate") options.rate = number;
    if (flag == "--checkpoint-frames") options.replica.checkpoint_frames = number;
    if (flag == "--wal-limit") options.replica.wal_limit_bytes = number;
    if (flag == "--batch") options.batch = number;
    if (flag == "--tear-header-at") options.tear_header_at = number;
  }
  return options;
}

Status Bootstrap(const Options& options, uint32_t page_size, const SourceCommit& base) {
  TRY_ASSIGN(std::unique_ptr<replica::ReplicaImage> image,
             replica::ReplicaImage::Create({.path = options.replica.path, .page_size = PageSize(page_size)}));
  for (const SourcePage& page : base.pages) TRY(image->AddPage(page.pgno, page.bytes));
  return image->Finish({.lineage = {1}, .position = base.post, .page_count = base.page_count, .log_sequence = 1});
}

// A torn header, as a client leaves it that dies between the copies.
Status TearHeader(const std::string& path) {
  TRY_ASSIGN(std::unique_ptr<sqlite::LiveDb> live, sqlite::LiveDb::Open({.path = path}));
  live->SetWord(8, live->Word(8) + 1);
  return Ok();
}

Status Apply(replica::Replica& replica, PageSize page_size, const SourceCommit& commit) {
  while (true) {
    Status begun = replica.Begin(page_size);
    if (begun.ok()) break;
    if (begun.code() != Errc::kUnavailable) return begun;
    usleep(1000);
    TRY(replica.Maintain(std::chrono::steady_clock::now()));
  }
  for (const SourcePage& page : commit.pages) TRY(replica.AddPage(page.pgno, page.bytes));
  TRY(replica.Commit({.post = commit.post, .page_count = commit.page_count, .log_sequence = commit.post.txid.raw()}));
  return replica.Maintain(std::chrono::steady_clock::now());
}

Status Run(const Options& options, int& exit_code) {
  uint32_t page_size = 0;
  std::vector<SourceCommit> commits = LoadCommits(options.commits, page_size);
  Result<std::unique_ptr<replica::Replica>> attached = replica::Replica::Attach(options.replica);
  if (!attached.ok() && attached.code() == Errc::kNotFound) {
    TRY(Bootstrap(options, page_size, commits[0]));
    attached = replica::Replica::Attach(options.replica);
  }
  if (!attached.ok()) return attached.error();
  replica::Replica& replica = **attached;
  const replica::ReplicaState& state = replica.state();
  size_t at = state.at.txid.raw() - commits[0].post.txid.raw();
  if (!state.exact || at >= commits.size() || commits[at].post != state.at) {
    exit_code = 9;
    return Error(Errc::kCorrupt,
                 "attached at " + ToString(state.at) + " exact " + std::to_string(state.exact) + " " + state.note);
  }
  std::printf("attached at %s\n", ToString(state.at).c_str());
  std::fflush(stdout);
  auto start = std::chrono::steady_clock::now();
  size_t applied = 0;
  for (size_t i = at + 1; i < commits.size();) {
    size_t last = std::min(commits.size() - 1, i + options.batch - 1);
    TRY(Apply(replica, PageSize(page_size), last == i ? commits[i] : Union(commits, i, last)));
    i = last + 1;
    if (++applied == options.tear_header_at) TRY(TearHeader(options.replica.path));
    if (options.rate == 0) continue;
    auto due = start + std::chrono::microseconds(1000000 * applied / options.rate);
    auto now = std::chrono::steady_clock::now();
    if (due > now)
      usleep(static_cast<useconds_t>(std::chrono::duration_cast<std::chrono::microseconds>(due - now).count()));
  }
  // Later runs of the same commits need something to do.
  std::printf("applied %zu\n", applied);
  std::fflush(stdout);
  while (options.stay) {
    TRY(replica.Maintain(std::chrono::steady_clock::now()));
    usleep(1000);
  }
  TRY(replica.Detach());
  replica::ReplicaStats stats = replica.stats();
  std::printf("{\"commits\": %lu, \"resets\": %lu, \"checkpoints\": %lu, \"recoveries\": %lu, \"pauses\": %lu}\n",
              stats.commits, stats.resets, stats.checkpoints, stats.recoveries, stats.pauses);
  return Ok();
}

}  // namespace
}  // namespace runnel::testing

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  int exit_code = 1;
  runnel::Status status = runnel::testing::Run(runnel::testing::Parse(argc, argv), exit_code);
  if (status.ok()) return 0;
  std::printf("%s: %s\n", std::string(runnel::ToString(status.code())).c_str(), status.error().message().c_str());
  return exit_code;
}
