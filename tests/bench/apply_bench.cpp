// How fast a replica takes commits: small ones (3 pages of 4 KiB) and large ones (10,000 pages), with each sync mode.
// Prints one JSON line a run.
//
//   apply_bench [DIRECTORY] [SECONDS_PER_RUN]
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "ltx/format/checksum.h"
#include "subscriber/replica/image.h"
#include "subscriber/replica/replica.h"
#include "tests/support/commit_source.h"
#include "tests/support/temp_dir.h"

namespace runnel::replica {
namespace {

using Clock = std::chrono::steady_clock;
constexpr uint32_t kPage = 4096;
constexpr uint32_t kPages = 20000;

struct Run {
  const char* name;
  uint32_t pages_per_commit;
  SyncMode sync;
  const char* sync_name;
};

// A valid page 1 and pages of noise: apply does not look inside.
Status MakeImage(const std::string& path, const std::string& source_path, Checksum& sum) {
  testing::CommitSource source(source_path, kPage, "CREATE TABLE t(a)");
  TRY_ASSIGN(std::unique_ptr<ReplicaImage> image, ReplicaImage::Create({.path = path, .page_size = PageSize(kPage)}));
  std::vector<std::byte> page(kPage);
  sum = Checksum::Empty();
  for (uint32_t pgno = 1; pgno <= kPages; ++pgno) {
    Bytes bytes = pgno <= source.page_count() ? Bytes(source.page(Pgno(pgno))) : Bytes(page);
    sum = sum.Toggle(ltx::PageChecksum(Pgno(pgno), bytes));
    TRY(image->AddPage(Pgno(pgno), bytes));
  }
  return image->Finish({.lineage = {1}, .position = {Txid(1), sum}, .page_count = kPages});
}

Status Measure(const Run& run, const std::string& path, Checksum& sum, double seconds) {
  TRY_ASSIGN(std::unique_ptr<Replica> replica, Replica::Attach({.path = path, .sync = run.sync}));
  std::mt19937 random(1);
  std::vector<std::byte> page(kPage);
  for (std::byte& byte : page) byte = static_cast<std::byte>(random());
  uint64_t commits = 0;
  Clock::duration applying{};
  Position at = replica->state().at;
  while (applying < std::chrono::duration<double>(seconds)) {
    // The sum of the wanted image is the source's work, so it is not part of the time.
    std::vector<Pgno> pages;
    uint32_t first = 2 + static_cast<uint32_t>(random() % (kPages - run.pages_per_commit - 1));
    StoreBe64(page.data() + 64, commits);
    for (uint32_t i = 0; i < run.pages_per_commit; ++i) {
      Pgno pgno(first + i);
      sum = sum.Toggle(replica->PageChecksumOf(pgno)).Toggle(ltx::PageChecksum(pgno, page));
      pages.push_back(pgno);
    }
    at = {at.txid.Next(), sum};
    Clock::time_point start = Clock::now();
    TRY(replica->Begin(PageSize(kPage)));
    for (Pgno pgno : pages) TRY(replica->AddPage(pgno, page));
    TRY(replica->Commit({.post = at, .page_count = kPages}));
    TRY(replica->Maintain(Clock::now()));
    applying += Clock::now() - start;
    ++commits;
  }
  double took = std::chrono::duration<double>(applying).count();
  double bytes = static_cast<double>(commits) * run.pages_per_commit * kPage;
  ReplicaStats stats = replica->stats();
  std::printf(
      "{\"run\": \"%s\", \"sync\": \"%s\", \"pages_per_commit\": %u, \"commits_per_s\": %.0f, \"mb_per_s\": %.0f, "
      "\"checkpoints\": %lu, \"resets\": %lu}\n",
      run.name, run.sync_name, run.pages_per_commit, static_cast<double>(commits) / took, bytes / took / 1e6,
      stats.checkpoints, stats.resets);
  std::fflush(stdout);
  return replica->Detach();
}

Status Main(const std::string& directory, double seconds) {
  Checksum sum;
  TRY(MakeImage(directory + "/replica.db", directory + "/source.db", sum));
  for (const Run& run : {Run{"small", 3, SyncMode::kOff, "off"}, Run{"small", 3, SyncMode::kNormal, "normal"},
                         Run{"small", 3, SyncMode::kFull, "full"}, Run{"large", 10000, SyncMode::kOff, "off"},
                         Run{"large", 10000, SyncMode::kNormal, "normal"}}) {
    TRY(Measure(run, directory + "/replica.db", sum, seconds));
  }
  return Ok();
}

}  // namespace
}  // namespace runnel::replica

int main(int argc, char** argv) {
  runnel::testing::TempDir scratch;
  std::string directory = argc > 1 ? argv[1] : scratch.path().string();
  runnel::Status status = runnel::replica::Main(directory, argc > 2 ? std::atof(argv[2]) : 2.0);
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.error().message().c_str());
  return status.ok() ? 0 : 1;
}
