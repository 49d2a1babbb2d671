// What an archiver does with each message of the log.
#include <algorithm>
#include <utility>
#include <variant>

#include "ltx/base/log.h"
#include "subscriber/archive/admission.h"
#include "subscriber/archive/archiver.h"

namespace runnel::archive {
namespace {

constexpr uint64_t kPendingBytesMax = 8 << 20;
constexpr size_t kPendingFilesMax = 4096;

}  // namespace

Position Archiver::Expected() const { return pending_.empty() ? catalog_->manifest().position : pending_end_; }

Status Archiver::Handle(bus::Message message, std::stop_token stop) {
  const bus::StreamSeq seq = message.seq;
  Result<bus::Envelope> decoded = bus::Decode(message.payload);
  if (!decoded.ok() && decoded.code() == Errc::kCorrupt) {
    // Another program's, or damaged by the bus: what it may have held is missed at the next one.
    Log(Level::kWarn, "damaged_message_skipped",
        {{"db", config_.name}, {"seq", seq.raw()}, {"err", decoded.error().message()}});
    seen_seq_ = seq;
    return Ok();
  }
  if (!decoded.ok()) return decoded.error().With("message " + std::to_string(seq.raw()));
  bus::Envelope envelope = std::move(*decoded);
  TRY_ASSIGN(bool ours, IsOurs(envelope.header));
  if (!ours) {
    seen_seq_ = seq;
    return Ok();
  }
  if (auto* commits = std::get_if<bus::Commits>(&envelope.body)) {
    TRY(HandleCommits(envelope.header, std::move(*commits), seq));
  } else if (std::holds_alternative<bus::Chunk>(envelope.body)) {
    return HandleChunk(std::move(envelope), seq, std::move(stop));
  } else if (!std::holds_alternative<bus::UnknownKind>(envelope.body)) {
    if (std::holds_alternative<bus::SnapshotRef>(envelope.body)) reference_seq_ = seq;
    TRY(HandlePosition(envelope.header));
  }
  seen_seq_ = seq;
  if (!pending_.empty()) pending_seq_ = seq;
  return Ok();
}

// False: void, or of the history before this archive's.
Result<bool> Archiver::IsOurs(const bus::Header& header) {
  const Manifest& manifest = catalog_->manifest();
  if (header.lineage != manifest.lineage) {
    if (manifest.position.txid == Txid() && pending_.empty()) return false;
    TRY(Flush());
    return Error(Errc::kRefused, store_->location() + " is the archive of lineage " + ToString(manifest.lineage) +
                                     " up to " + ToString(manifest.position) + "; the log now belongs to lineage " +
                                     ToString(header.lineage) +
                                     ": give the new history another directory, bucket or prefix");
  }
  if (header.epoch < epoch_) return false;
  epoch_ = header.epoch;
  stats_.head = std::max(stats_.head, header.position);
  return true;
}

Status Archiver::NotAdmitted(const ltx::Header& header, bool fork) const {
  const std::string what = "TXID " + ToString(header.min_txid);
  if (!fork) return Error(Errc::kGap, what + " came, " + ToString(Expected().txid.Next()) + " was to come");
  return Error(Errc::kRefused, "fork: " + what + " of the log was made from checksum " +
                                   ToString(header.pre_apply_checksum) + ", the archive is at " + ToString(Expected()) +
                                   "; keep this archive for what it holds and begin another one");
}

Status Archiver::HandleCommits(const bus::Header& header, bus::Commits commits, bus::StreamSeq seq) {
  for (bus::Entry& entry : commits.entries) TRY(HandleFile(std::move(entry), header, seq));
  return Ok();
}

Status Archiver::HandleFile(bus::Entry entry, const bus::Header&, bus::StreamSeq seq) {
  if (entry.ltx.size() < ltx::kFileBytesMin) return Error(Errc::kCorrupt, "an LTX of the log is too short");
  TRY_ASSIGN(ltx::Header ltx_header, ltx::DecodeHeader(AsBytes(entry.ltx).first(ltx::kHeaderBytes)));
  const Admission admission = Admit(Expected(), ltx_header, entry.origin);
  switch (admission) {
    case Admission::kDuplicate: return Ok();
    case Admission::kGap:
      // Before the first snapshot, or behind a hole: passed over until one comes.
      if (behind_hole_ || Expected().txid == Txid()) return Ok();
      return NotAdmitted(ltx_header, false);
    case Admission::kFork: return NotAdmitted(ltx_header, true);
    case Admission::kImage: {
      TRY(Flush());
      ltx::BytesSource source(AsBytes(entry.ltx));
      Intake intake(*catalog_);
      TRY_ASSIGN(Position position,
                 intake.PutImage(source, entry, EndAt(seq), [seq] { return bus::StreamSeq(seq.raw() - 1); }));
      behind_hole_ = false;
      Took(position, 1, entry.ltx.size(), 1);
      return Ok();
    }
    case Admission::kOverlaps: TRY(Flush()); break;
    case Admission::kNext: break;
  }
  TRY_ASSIGN(CheckedLtx checked, CheckLtx(AsBytes(entry.ltx), entry, catalog_->manifest().page_size));
  if (pending_.empty()) pending_since_ = std::chrono::steady_clock::now();
  IntakeFile file;
  file.record.min_txid = entry.min_txid;
  file.record.max_txid = entry.max_txid;
  file.record.origin = entry.origin;
  file.record.captured_at = entry.captured_at;
  file.record.checksum = checked.checksum;
  file.record.seq = seq;
  file.ltx = std::move(entry.ltx);
  pending_bytes_ += file.ltx.size();
  pending_end_ = {file.record.max_txid, checked.checksum};
  pending_captured_at_ = file.record.captured_at;
  pending_seq_ = bus::StreamSeq(seq.raw() - 1);  // its message may hold more
  pending_epoch_ = epoch_;
  pending_.push_back(std::move(file));
  stats_.pending_files = pending_.size();
  if (admission == Admission::kOverlaps) {
    IntakeEnd end = EndAt(pending_seq_);
    end.unproven = true;
    Intake intake(*catalog_);
    TRY(intake.PutFiles(pending_, end));
    Took(pending_end_, 1, pending_bytes_, 2);
    return Ok();
  }
  if (pending_bytes_ >= kPendingBytesMax || pending_.size() >= kPendingFilesMax) return Flush();
  return Ok();
}

Status Archiver::HandleChunk(bus::Envelope envelope, bus::StreamSeq seq, std::stop_token stop) {
  const auto& chunk = std::get<bus::Chunk>(envelope.body);
  if (chunk.index != 0) {  // the rest of an LTX whose beginning was passed over
    seen_seq_ = seq;
    return Ok();
  }
  if (chunk.data.size() < ltx::kHeaderBytes) return Error(Errc::kCorrupt, "the first chunk of an LTX is too short");
  TRY_ASSIGN(ltx::Header ltx_header, ltx::DecodeHeader(AsBytes(chunk.data).first(ltx::kHeaderBytes)));
  const bus::Entry entry = chunk.entry;
  const Admission admission = Admit(Expected(), ltx_header, entry.origin);
  const bool wanted =
      admission == Admission::kNext || admission == Admission::kOverlaps || admission == Admission::kImage;
  if (!wanted) {
    seen_seq_ = seq;
    if (admission == Admission::kDuplicate) return Ok();
    if (admission == Admission::kGap && (behind_hole_ || Expected().txid == Txid())) return Ok();
    return NotAdmitted(ltx_header, admission == Admission::kFork);
  }
  TRY(Flush());
  bus::ChunkReader source(*reader_, seq, std::move(envelope), std::move(stop));
  IntakeEnd end = EndAt(seq);
  end.unproven = admission == Admission::kOverlaps;
  Intake intake(*catalog_);
  const Intake::EndSeq end_seq = [&] { return source.last_seq(); };
  Result<Position> put = admission == Admission::kImage ? intake.PutImage(source, entry, end, end_seq)
                                                        : intake.PutLargeFile(source, entry, end, end_seq);
  if (std::optional<bus::Message> interruption = source.TakeInterruption()) {
    interruption_ = std::move(interruption);
    return Ok();
  }
  if (!put.ok()) return put.error();
  if (admission == Admission::kImage) behind_hole_ = false;
  Took(*put, 1, 0, admission == Admission::kImage ? 1 : 2);
  seen_seq_ = source.last_seq();
  return Ok();
}

// Heartbeats, references and takeover markers carry the publisher's position: silence is told apart from loss by them.
Status Archiver::HandlePosition(const bus::Header& header) {
  const Position ours = Expected();
  if (behind_hole_ || ours.txid == Txid()) return Ok();
  if (header.position.txid > ours.txid) {
    return Error(Errc::kGap, "the log is at " + ToString(header.position) + ", the archive at " + ToString(ours) +
                                 ", and nothing lies between");
  }
  if (header.position.txid == ours.txid && header.position.checksum.valid() &&
      header.position.checksum != ours.checksum) {
    return Error(Errc::kRefused, "fork: the log is at " + ToString(header.position) + ", the archive at " +
                                     ToString(ours) + "; keep this archive for what it holds and begin another one");
  }
  return Ok();
}

IntakeEnd Archiver::EndAt(bus::StreamSeq seq) const {
  IntakeEnd end;
  end.position = pending_end_;
  end.captured_at = pending_captured_at_;
  end.log_seq = seq;
  end.epoch = epoch_;
  end.incarnation = incarnation_;
  return end;
}

Status Archiver::Flush() {
  if (pending_.empty()) return Ok();
  IntakeEnd end = EndAt(pending_seq_);
  end.epoch = pending_epoch_;
  Intake intake(*catalog_);
  TRY(intake.PutFiles(pending_, end));
  Took(pending_end_, pending_.size(), pending_bytes_, 2);
  return Ok();
}

void Archiver::Took(const Position& position, uint64_t files, uint64_t bytes, uint64_t objects) {
  pending_.clear();
  pending_bytes_ = 0;
  pending_end_ = position;
  stats_.pending_files = 0;
  stats_.commits += files;
  stats_.log_bytes += bytes;
  stats_.puts += objects;
  stats_.head = std::max(stats_.head, position);
  locate_tries_ = 0;  // progress: a gap behind this is another one
  UpdateSnapshot();
}

}  // namespace runnel::archive
