// Looks now and then whether a new subscriber could still start from the log: its newest snapshot may have been trimmed
// away, and messages may have been deleted inside it. Then another snapshot is written, while the application goes on;
// or, where the archive has an image that the log leads on from, only a reference to that.
#include <chrono>
#include <optional>
#include <string>
#include <utility>

#include "bus/find.h"
#include "ltx/base/log.h"
#include "publisher/database.h"
#include "publisher/table_owner.h"

namespace runnel::publisher {
namespace {

using std::chrono::steady_clock;

constexpr std::chrono::seconds kLookInterval{10};
// An image can be sent only when it is exactly what was published last: under a busy writer that takes a few tries.
constexpr int kExactTries = 50;
constexpr std::chrono::milliseconds kAckWait{100};
// A store that is away comes back, or an archiver is started beside us: a whole image can wait a little for that.
constexpr std::chrono::minutes kArchivePatience{5};

}  // namespace

Status DatabasePublisher::CareForLog() {
  auto now = steady_clock::now();
  if (now - cared_at_ < kLookInterval) return Ok();
  cared_at_ = now;
  Result<bus::LogInfo> looked = log_->Info();
  if (!looked.ok()) return looked.code() == Errc::kNotFound ? looked.error().As(Errc::kUnavailable) : looked.error();
  const bus::LogInfo& info = *looked;
  if (info.missing_messages > missing_known_) {
    TRY_ASSIGN(const bool sent,
               SnapshotNow(std::to_string(info.missing_messages) + " messages are missing in the log"));
    if (sent) missing_known_ = info.missing_messages;
    return Ok();
  }
  if (info.first_seq <= bus::StreamSeq(1)) return Ok();
  std::optional<ArchivedImage> archived;
  if (config_.archive != nullptr) archived = config_.archive->Newest(lineage_);
  const bool news = archived && archived->ref.image != referred_ && archived->reach != unreached_;
  if (trim_checked_ == info.first_seq && !news) return Ok();
  TRY_ASSIGN(const bool cared, CareForTrimmedLog(info, archived));
  if (cared) trim_checked_ = info.first_seq;
  return Ok();
}

// False: not yet, look again.
Result<bool> DatabasePublisher::CareForTrimmedLog(const bus::LogInfo& info,
                                                  const std::optional<ArchivedImage>& archived) {
  if (archived) {
    TRY_ASSIGN(const bool referred, ReferToArchive(info, *archived));
    if (referred) return true;
  }
  if (image_seq_ >= info.first_seq) return true;
  TRY_ASSIGN(const std::optional<bus::SnapshotPlace> place, bus::FindLastSnapshot(*log_));
  if (place) {
    image_seq_ = place->seq;
    return true;
  }
  if (config_.archive != nullptr) {
    if (archive_awaited_ == steady_clock::time_point()) archive_awaited_ = steady_clock::now();
    if (steady_clock::now() - archive_awaited_ < kArchivePatience) return false;
  }
  TRY_ASSIGN(const bool sent, SnapshotNow("the log no longer holds a snapshot"));
  if (sent) image_seq_ = info.last_seq;
  return sent;
}

// True when the log refers to an image of the archive from which it leads on. The reference is written again when it
// was trimmed, and when the archive has a newer image, so that it is never far from the log's end.
Result<bool> DatabasePublisher::ReferToArchive(const bus::LogInfo& info, const ArchivedImage& archived) {
  if (archived.ref.image.txid > ledger_->position().txid) return false;
  Result<std::optional<bus::StreamSeq>> on = bus::FindTxid(*log_, archived.reach.txid.Next());
  if (!on.ok() && on.code() != Errc::kGap) return on.error();
  if (!on.ok()) {
    Log(Level::kWarn, "archive_ends_before_log", {{"db", config_.name}, {"err", on.error().message()}});
    unreached_ = archived.reach;
    // A reference of before is of no use any more; a snapshot will be found again.
    image_seq_ = bus::StreamSeq();
    referred_ = Position();
    return false;
  }
  archive_awaited_ = {};
  if (image_seq_ >= info.first_seq && referred_ == archived.ref.image) return true;
  TRY(sender_->SendReference(archived.ref, ledger_->position(), std::stop_token()));
  image_seq_ = info.last_seq;  // it lies somewhere behind
  referred_ = archived.ref.image;
  ++stats_.references;
  Log(Level::kInfo, "archive_referred_to",
      {{"db", config_.name}, {"position", ToString(referred_)}, {"object", archived.ref.object}});
  return true;
}

// False: the writer was too busy, look again.
Result<bool> DatabasePublisher::SnapshotNow(const std::string& why) {
  sender_->CopyTo(nullptr);  // a snapshot has no place among what is in flight
  for (int i = 0; i < kExactTries; ++i) {
    TRY(Gather(*sender_));
    if (!sender_->WaitAllAcked(steady_clock::now() + kAckWait).ok()) continue;
    Release(sender_->acked());
    TableOwner owner = LoadOwner(ledger_->table());
    if (ledger_->inflight_commits() != 0 || owner.txid != ledger_->position().txid.raw()) continue;
    TRY_ASSIGN(ImagePin image, capture_->PinImage());
    if (!image.at.SamePlace(owner.wal)) {
      // Commits came between: they are read and published first.
      capture_->Rewind(owner.wal, ledger_->page_count());
      capture_->Released(owner.wal);
      continue;
    }
    LtxSpec spec;
    spec.min_txid = Txid(1);
    spec.max_txid = ledger_->position().txid;
    spec.post_apply_checksum = ledger_->position().checksum;
    TRY(SendImage(image, spec, std::stop_token()));
    ++stats_.snapshots;
    Log(Level::kWarn, "snapshot_repeated",
        {{"db", config_.name}, {"position", ToString(ledger_->position())}, {"reason", why}});
    return true;
  }
  Log(Level::kWarn, "snapshot_postponed", {{"db", config_.name}, {"reason", why}});
  cared_at_ = {};
  return false;
}

}  // namespace runnel::publisher
