// Where an archiver begins, at first and after every trouble: nothing is remembered, store and log are asked.
#include <utility>
#include <variant>

#include "bus/find.h"
#include "bus/url.h"
#include "ltx/base/crash_point.h"
#include "ltx/base/log.h"
#include "subscriber/archive/archiver.h"

namespace runnel::archive {

void Archiver::Forget() {
  if (worker_ != nullptr) worker_->Cancel();
  catalog_.reset();
  reader_.reset();
  interruption_.reset();
  pending_.clear();
  pending_bytes_ = 0;
  behind_hole_ = false;
  locate_tries_ = 0;
  seen_seq_ = bus::StreamSeq();
  reference_seq_ = bus::StreamSeq();
  stats_.pending_files = 0;
}

Status Archiver::Open(bool steal_lease) {
  if (store_ == nullptr) {
    store::StoreOptions options = config_.store;
    options.stop = abort_.get_token();
    TRY_ASSIGN(store_, store::OpenStore(config_.archive_url, options));
  }
  if (log_ == nullptr) {
    TRY_ASSIGN(log_, bus::OpenLog(config_.bus_url, config_.bus));
  }
  // Whatever began this session anew may have been a rival that has taken the lease.
  if (lease_ != nullptr) TRY(lease_->Check());
  if (lease_ != nullptr && !lease_->held()) lease_.reset();
  TRY_ASSIGN(Layout layout, Layout::ForUrl(config_.archive_url));
  if (lease_ == nullptr) {
    Result<std::unique_ptr<Lease>> lease = Lease::Acquire(
        *store_, {.key = layout.LeaseKey(), .node = config_.node_name, .ttl = config_.lease_ttl, .steal = steal_lease});
    if (!lease.ok()) {
      if (lease.code() == Errc::kUnavailable) ShowArchive(layout);
      return lease.error();
    }
    lease_ = std::move(*lease);
  }
  CrashPoint("archive_lease_taken");
  if (worker_ == nullptr) worker_ = std::make_unique<Worker>(*store_, layout);
  catalog_ = std::make_unique<Catalog>(*store_, layout, config_.node_name);
  Status opened = OpenManifest();
  if (!opened.ok()) catalog_.reset();  // a session that has not begun must not be taken for one that goes on
  return opened;
}

// Who stands by says what the other one has archived. Trouble with it is no trouble: it is looked at again.
void Archiver::ShowArchive(const Layout& layout) {
  Catalog catalog(*store_, layout, config_.node_name);
  const Result<bool> there = catalog.Load();
  if (there.ok() && *there) ShowManifest(catalog.manifest());
}

Status Archiver::OpenManifest() {
  TRY_ASSIGN(bool there, catalog_->Load());
  if (!there) TRY(BeginManifest());
  const Manifest& manifest = catalog_->manifest();
  if (manifest.database != config_.name) {
    return Error(Errc::kRefused, store_->location() + " is the archive of \"" + manifest.database + "\", not of \"" +
                                     config_.name + "\"; give another directory, bucket or prefix");
  }
  // From here on no writer that has read an older manifest can name anything: what is nameless now stays so.
  TRY(catalog_->Update([](Manifest&) {}));
  CrashPoint("archive_opened");
  TRY_ASSIGN(uint64_t swept, catalog_->Sweep());
  stats_.swept += swept;
  epoch_ = manifest.epoch;
  pending_end_ = manifest.position;
  seen_seq_ = manifest.log_seq;
  UpdateSnapshot();
  return Ok();
}

// A new archive belongs to what the log holds now.
Status Archiver::BeginManifest() {
  TRY_ASSIGN(std::optional<bus::Message> tail, log_->Tail());
  if (!tail) return Error(Errc::kNotFound, "the log is empty; the archive begins with its first snapshot");
  Result<bus::Header> header = bus::DecodeHeader(tail->payload);
  if (!header.ok()) return header.error().As(Errc::kUnavailable).With("the newest message of the log");
  Manifest manifest;
  manifest.lineage = header->lineage;
  manifest.page_size = header->page_size;
  manifest.database = config_.name;
  TRY(catalog_->Create(manifest));
  Log(Level::kInfo, "archive_begun", {{"db", config_.name}, {"lineage", ToString(manifest.lineage)}});
  CrashPoint("archive_begun");
  return Ok();
}

Status Archiver::ReadFrom(bus::StartAt start) {
  interruption_.reset();
  TRY_ASSIGN(reader_, log_->Read(start));
  return Ok();
}

// First behind the last message that is archived; when that place is gone, or something is missing or damaged behind
// it, wherever the next TXID is; when that does not help either, at the newest snapshot.
Status Archiver::Locate(std::stop_token stop) {
  reader_.reset();
  TRY_ASSIGN(bus::LogInfo info, log_->Info());
  const Manifest& manifest = catalog_->manifest();
  const bool empty = manifest.position.txid == Txid();
  const bool known = manifest.incarnation == info.incarnation;
  const uint32_t tries = locate_tries_++;
  incarnation_ = info.incarnation;
  epoch_ = manifest.epoch;
  if (tries == 0 && empty) return ReadFrom(bus::FromEarliest{});
  if (tries == 0 && known) return ReadFrom(bus::FromSequence{manifest.log_seq.Next()});
  TRY_ASSIGN(std::optional<bus::Message> tail, log_->Tail());
  if (tail) {
    Result<bus::Header> header = bus::DecodeHeader(tail->payload);
    if (header.ok()) TRY(IsOurs(*header));
  }
  std::string why = "what follows is damaged";
  if (tries < 2) {
    Result<std::optional<bus::StreamSeq>> next = bus::FindTxid(*log_, manifest.position.txid.Next(), stop);
    if (next.ok()) return ReadFrom(bus::FromSequence{*next ? **next : info.last_seq.Next()});
    if (next.code() != Errc::kGap) return next.error();
    why = next.error().message();
  }
  return ReadFromSnapshot(why, std::move(stop));
}

Status Archiver::ReadFromSnapshot(const std::string& why, std::stop_token stop) {
  const Manifest& manifest = catalog_->manifest();
  TRY_ASSIGN(std::optional<bus::SnapshotPlace> place, bus::FindLastSnapshot(*log_, std::move(stop)));
  if (!place || place->txid <= manifest.position.txid) {
    return Error(Errc::kNotFound, "the log does not lead on from " + ToString(manifest.position) + " (" + why +
                                      ") and holds no newer snapshot; a publisher that runs writes one when "
                                      "messages are missing");
  }
  ++stats_.holes;
  behind_hole_ = true;
  Log(Level::kWarn, "archive_passes_a_hole",
      {{"db", config_.name},
       {"position", ToString(manifest.position)},
       {"max_txid", ToString(place->txid)},
       {"reason", why}});
  return ReadFrom(bus::FromSequence{place->seq});
}

}  // namespace runnel::archive
