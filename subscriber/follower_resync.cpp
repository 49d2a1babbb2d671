// How a follower comes to stand at an exact position: attach, bootstrap from a snapshot, and every way back after a
// gap, a fork or damage. Nothing here shows readers anything but exact images.
#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "ltx/base/bytes.h"
#include "ltx/base/log.h"
#include "ltx/base/progress.h"
#include "ltx/format/decoder.h"
#include "subscriber/follower.h"
#include "subscriber/log_walk.h"

namespace runnel::subscriber {
namespace {

using std::chrono::steady_clock;

// How long a replica that was removed under us may go unnoticed.
constexpr std::chrono::seconds kLookInterval{1};
// A small image is there before anybody wonders.
constexpr uint32_t kProgressPages = 4096;

// From the trailer, unverified: the image it names is proven by comparing.
Checksum PostApplyChecksumOf(const std::string& file) {
  if (file.size() < ltx::kTrailerBytes) return Checksum();
  return Checksum(LoadBe64(AsBytes(file).last(ltx::kTrailerBytes).data()));
}

}  // namespace

Status Follower::Connect(std::stop_token stop) {
  if (log_ == nullptr) {
    TRY_ASSIGN(log_, bus::OpenLog(config_.bus_url, config_.bus));
  }
  if (replica_ == nullptr) TRY(AttachReplica());
  if (replica_ != nullptr && (!replica_->state().exact || lineage_ == bus::Lineage())) {
    Status located = LocateImage(stop);
    if (!located.ok() && !needs_heal_) return located;
  }
  return Ok();
}

Status Follower::AttachReplica() {
  std::error_code ec;
  if (!std::filesystem::exists(config_.replica.path, ec)) return Ok();
  Result<std::unique_ptr<replica::Replica>> attached = replica::Replica::Attach(config_.replica);
  if (!attached.ok() && attached.code() == Errc::kNotFound) return Ok();  // a bootstrap that did not get to its end
  if (!attached.ok() && attached.code() == Errc::kCorrupt) {
    if (!config_.replace) {
      return Error(Errc::kRefused, attached.error().message() + "; to have it made again from the log, give --force");
    }
    Log(Level::kWarn, "replica_unusable", {{"db", config_.name}, {"err", attached.error().message()}});
    return Ok();
  }
  if (!attached.ok()) return attached.error();
  replica_ = std::move(*attached);
  const replica::ReplicaState& state = replica_->state();
  lineage_.bytes = state.lineage;
  inode_ = replica::StampOf(config_.replica.path).inode;
  stats_.applied = state.at;
  stats_.head = std::max(stats_.head, state.at);
  if (state.exact && !state.note.empty())
    Log(Level::kWarn, "replica_mended", {{"db", config_.name}, {"err", state.note}});
  Log(Level::kInfo, "replica_attached",
      {{"db", config_.name}, {"position", ToString(state.at)}, {"exact", state.exact}});
  UpdateSnapshot();  // what was shown before does not describe this file
  return Ok();
}

// After a crash the image may stand at any commit since the last durable position; its checksum says at which. After
// damage to the position file the log also says of which lineage it is.
Status Follower::LocateImage(std::stop_token stop) {
  const replica::ReplicaState& state = replica_->state();
  std::optional<Position> found;
  bus::Header header;
  if (!state.foreign_write) {
    TRY_ASSIGN(std::optional<bus::StreamSeq> seq, bus::FindTxid(*log_, state.durable.txid));
    auto look = [&](const WalkedLtx& ltx) -> Result<bool> {
      Position position{ltx.entry.max_txid, ltx.header.position.checksum};
      if (!ltx.entry.ltx.empty()) position.checksum = PostApplyChecksumOf(ltx.entry.ltx);
      if (position.checksum != state.image) return true;
      found = position;
      header = ltx.header;
      return false;
    };
    if (seq) TRY(WalkLog(*log_, *seq, look, stop));
  }
  if (!found) {
    Log(Level::kWarn, "replica_not_exact", {{"db", config_.name}, {"err", state.note}});
    return NeedsHeal(state.note);
  }
  Log(Level::kInfo, "image_located", {{"db", config_.name}, {"position", ToString(*found)}});
  replica::CommitPoint point;
  point.post = *found;
  point.page_count = state.page_count;
  if (lineage_ == bus::Lineage()) point.lineage = header.lineage.bytes;
  TRY(replica_->Begin(state.page_size));
  TRY(replica_->Commit(point));
  lineage_.bytes = replica_->state().lineage;
  stats_.applied = *found;
  return Ok();
}

Status Follower::OpenReader(std::stop_token stop) {
  reader_.reset();
  TRY_ASSIGN(bus::LogInfo info, log_->Info());
  std::optional<bus::StreamSeq> start;
  if (replica_ == nullptr) {
    TRY_ASSIGN(bus::ImagePlaces places, bus::FindLastImages(*log_, stop));
    Report(FollowerState::kBootstrapping, Ok());
    Result<bool> archived = BootstrapFromArchive(places, stop);
    if (replica_ == nullptr && !places.snapshot && places.reference) {
      // The archive does not help; the log may hold an image further back.
      TRY_ASSIGN(places.snapshot, bus::FindLastSnapshot(*log_, stop));
    }
    if (places.snapshot) start = places.snapshot->seq;
    if (!archived.ok() && !start) return archived.error();
    if (!archived.ok())
      Log(Level::kWarn, "archive_not_used", {{"db", config_.name}, {"err", archived.error().message()}});
    if (replica_ == nullptr && !start) {
      Report(FollowerState::kBootstrapping,
             Error(Errc::kNotFound, "the log holds no snapshot yet; waiting for the publisher to write one"));
    }
  }
  if (replica_ != nullptr) {
    // A history that was cut may not have come as far as ours: then nothing is found, and its end is no place for us.
    TRY_ASSIGN(const std::optional<bus::Message> tail, log_->Tail());
    if (tail) {
      Result<bus::Header> header = bus::DecodeHeader(tail->payload);
      if (header.ok()) TRY(CheckLineage(*header));
    }
    TRY_ASSIGN(start, bus::FindTxid(*log_, stats_.applied.txid.Next()));
  }
  // The end was asked before the search, so nothing appended meanwhile is passed over.
  TRY_ASSIGN(reader_, log_->Read(bus::FromSequence{start ? *start : info.last_seq.Next()}));
  if (replica_ != nullptr && stats_.state != FollowerState::kFollowing) Report(FollowerState::kFollowing, Ok());
  return Ok();
}

// A gap or damage at our position. The first time the log is simply read again; when that leads to the same place, the
// replica is healed to the log's head. It keeps showing its last exact image meanwhile.
void Follower::Resync(const std::string& why) {
  ++stats_.resyncs;
  Report(FollowerState::kResyncing, Error(Errc::kGap, why));
  reader_.reset();
  interruption_.reset();
  pending_.clear();
  pending_bytes_ = 0;
  pending_messages_ = 0;
  if (resynced_at_ == stats_.applied.txid && replica_ != nullptr) needs_heal_ = true;
  resynced_at_ = stats_.applied.txid;
}

Status Follower::Heal(std::stop_token stop) {
  reader_.reset();
  Result<std::optional<ArchiveSource>> opened = OpenArchive(stop);
  // The log may do without it.
  if (!opened.ok()) Log(Level::kWarn, "archive_not_used", {{"db", config_.name}, {"err", opened.error().message()}});
  ArchiveSource* archive = opened.ok() && *opened ? &**opened : nullptr;
  Healer healer(*log_, *replica_, config_.replica.path + "-runnel/heal", archive);
  Result<HealReport> healed = healer.ToHead(stop);
  if (!healed.ok() && healer.other_page_size()) return StartOver(healed.error().message());
  if (!healed.ok()) {
    if (healed.code() != Errc::kGap && healed.code() != Errc::kCorrupt && healed.code() != Errc::kNotFound)
      return healed.error();
    // The way out is the same for all: look again; the last exact image stays visible.
    return Error(Errc::kUnavailable,
                 healed.error().message() + "; the replica stays at " + ToString(stats_.applied) +
                     " until the log holds a new snapshot (its publisher writes one with --new-lineage), or an "
                     "archive leads on (archive: in the configuration, or --archive)");
  }
  needs_heal_ = false;
  resynced_at_ = Txid();
  lineage_ = healed->lineage;
  epoch_ = healed->epoch;
  stats_.repaired_pages += healed->pages;
  Log(Level::kWarn, "replica_healed",
      {{"db", config_.name}, {"position", ToString(healed->position)}, {"pages", healed->pages}});
  stats_.head = healed->position;
  stats_.applied = healed->position;
  stats_.applied_captured_at = std::chrono::floor<std::chrono::microseconds>(std::chrono::system_clock::now());
  ++stats_.visible_commits;
  return OpenReader(stop);
}

// A file cannot change its page size in place: our replica is let go and replaced by a new image as soon as its readers
// close it. Until then they see the last exact image of the old history.
Status Follower::StartOver(const std::string& why) {
  Log(Level::kWarn, "replica_starts_over",
      {{"db", config_.name}, {"position", ToString(stats_.applied)}, {"err", why}});
  TRY(replica_->Detach());
  replica_.reset();
  needs_heal_ = false;
  replace_ours_ = true;
  return Ok();
}

// No replica yet: the snapshot becomes a new image file, verified before it gets its name.
Status Follower::Bootstrap(ltx::ByteSource& source, const bus::Header& header) {
  ltx::Decoder decoder(source);
  TRY_ASSIGN(ltx::Header ltx_header, decoder.Begin());
  replica::ImageOptions options;
  options.path = config_.replica.path;
  options.page_size = ltx_header.page_size;
  options.replace = config_.replace || replace_ours_;
  TRY_ASSIGN(std::unique_ptr<replica::ReplicaImage> image, replica::ReplicaImage::Create(options));
  const uint64_t page_bytes = ltx_header.page_size.raw();
  Progress progress("bootstrap", ProgressUnit::kBytes, ltx_header.commit * page_bytes);
  while (true) {
    TRY_ASSIGN(std::optional<ltx::Page> page, decoder.Next());
    if (!page) break;
    TRY(image->AddPage(page->pgno, page->data));
    if (page->pgno.raw() % kProgressPages == 0) progress.Set(page->pgno.raw() * page_bytes);
  }
  TRY_ASSIGN(ltx::Trailer trailer, decoder.Finish());
  Position position{ltx_header.max_txid, trailer.post_apply_checksum};
  replica::ReplicaImage::Final final;
  final.lineage = header.lineage.bytes;
  final.position = position;
  final.page_count = ltx_header.commit;
  TRY(image->Finish(final));
  image.reset();
  replace_ours_ = false;
  TRY(AttachReplica());
  lineage_ = header.lineage;
  epoch_ = header.epoch;
  Log(Level::kInfo, "replica_bootstrapped",
      {{"db", config_.name}, {"position", ToString(position)}, {"pages", uint64_t{ltx_header.commit}}});
  return Ok();
}

// Whoever removes or renames the replica would be served for ever from a file that nobody can open any more.
Status Follower::CheckStillThere() {
  if (steady_clock::now() - looked_at_ < kLookInterval) return Ok();
  looked_at_ = steady_clock::now();
  if (replica::StampOf(config_.replica.path).inode == inode_) return Ok();
  return Error(Errc::kIo, config_.replica.path + ": was removed or replaced while it was attached; looking at it anew");
}

// A few pages of the background scrub; what differs from the page table is fetched from the log and repaired under the
// readers.
Status Follower::ScrubStep(std::stop_token stop) {
  if (config_.scrub_interval.count() == 0 || steady_clock::now() - scrubbed_at_ < config_.scrub_interval) return Ok();
  scrubbed_at_ = steady_clock::now();
  TRY_ASSIGN(replica::ScrubReport report, replica_->Scrub(config_.scrub_pages));
  if (report.mismatches.empty()) return Ok();
  Log(Level::kWarn, "scrub_found_damage",
      {{"db", config_.name},
       {"pages", uint64_t{report.mismatches.size()}},
       {"pgno", uint64_t{report.mismatches.front().raw()}}});
  std::set<Pgno> damaged;
  uint64_t repaired = 0;
  for (Pgno pgno : report.mismatches) {
    TRY_ASSIGN(bool mended, replica_->RepairFromCopy(pgno));
    if (mended) ++repaired;
    if (!mended) damaged.insert(pgno);
  }
  if (!damaged.empty()) {
    TRY_ASSIGN(std::optional<ArchiveSource> archive, OpenArchive(stop));
    Healer healer(*log_, *replica_, std::string(), archive ? &*archive : nullptr);
    TRY_ASSIGN(uint64_t fetched, healer.RepairPages(damaged, std::move(stop)));
    repaired += fetched;
  }
  stats_.repaired_pages += repaired;
  Log(Level::kInfo, "scrub_repaired", {{"db", config_.name}, {"pages", repaired}});
  return Ok();
}

bool Follower::WaitFor(Txid txid, steady_clock::time_point deadline, std::stop_token stop) {
  MutexLock lock(mutex_);
  while (snapshot_.applied.txid < txid) {
    if (!applied_.WaitUntil(mutex_, stop, deadline)) return snapshot_.applied.txid >= txid;
  }
  return true;
}

}  // namespace runnel::subscriber
