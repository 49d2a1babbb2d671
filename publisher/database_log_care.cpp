// Looks now and then whether a new subscriber could still start from the log: its newest snapshot may have been trimmed
// away, and messages may have been deleted inside it. Then another snapshot is written, while the application goes on.
#include <chrono>
#include <optional>
#include <string>

#include "bus/find.h"
#include "ltx/base/log.h"
#include "publisher/database.h"
#include "publisher/table_owner.h"

namespace runnel::publisher {
namespace {

constexpr std::chrono::seconds kLookInterval{10};
// An image can be sent only when it is exactly what was published last: under a busy writer that takes a few tries.
constexpr int kExactTries = 50;
constexpr std::chrono::milliseconds kAckWait{100};

}  // namespace

Status DatabasePublisher::CareForLog() {
  auto now = std::chrono::steady_clock::now();
  if (now - cared_at_ < kLookInterval) return Ok();
  cared_at_ = now;
  Result<bus::LogInfo> looked = log_->Info();
  if (!looked.ok()) return looked.code() == Errc::kNotFound ? looked.error().As(Errc::kUnavailable) : looked.error();
  const bus::LogInfo& info = *looked;
  if (info.missing_messages > missing_known_) {
    TRY(SnapshotNow(std::to_string(info.missing_messages) + " messages are missing in the log"));
    missing_known_ = info.missing_messages;
    return Ok();
  }
  if (info.first_seq <= bus::StreamSeq(1)) return Ok();
  if (trim_checked_ == info.first_seq) return Ok();
  TRY_ASSIGN(std::optional<bus::SnapshotPlace> place, bus::FindLastSnapshot(*log_));
  if (!place) TRY(SnapshotNow("the log no longer holds a snapshot"));
  trim_checked_ = info.first_seq;
  return Ok();
}

Status DatabasePublisher::SnapshotNow(const std::string& why) {
  sender_->CopyTo(nullptr);  // a snapshot has no place among what is in flight
  for (int i = 0; i < kExactTries; ++i) {
    TRY(Gather(*sender_));
    if (!sender_->WaitAllAcked(std::chrono::steady_clock::now() + kAckWait).ok()) continue;
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
    return Ok();
  }
  Log(Level::kWarn, "snapshot_postponed", {{"db", config_.name}, {"reason", why}});
  cared_at_ = {};
  return Ok();
}

}  // namespace runnel::publisher
