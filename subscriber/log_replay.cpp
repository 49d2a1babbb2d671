#include "subscriber/log_replay.h"

#include <algorithm>
#include <utility>

#include "ltx/format/checksum.h"
#include "subscriber/admit.h"
#include "subscriber/restore/plan.h"

namespace runnel::subscriber {

Status LogReplay::Run(bus::StreamSeq start, const ReplayTarget& target, const std::function<void(uint64_t)>& progress,
                      std::stop_token stop) {
  target_ = target;
  progress_ = progress;
  TRY(WalkLog(
      log_, start, [this](const WalkedLtx& ltx) { return Visit(ltx); }, std::move(stop)));
  if (image_.position.txid == Txid()) {
    return Error(Errc::kNotFound, "the snapshot that the log seemed to hold is not whole");
  }
  if (!target_.txid || image_.position.txid == *target_.txid) return Ok();
  return Error(Errc::kNotFound, "TXID " + ToString(*target_.txid) + " cannot be reached: the log ends at " +
                                    ToString(image_.position.txid));
}

Result<bool> LogReplay::Visit(const WalkedLtx& ltx) {
  if (image_.lineage && ltx.header.lineage != *image_.lineage) return true;
  if (target_.txid && image_.position.txid == *target_.txid) return false;
  if (ltx.entry.max_txid <= image_.position.txid) return true;
  if (target_.time && ltx.entry.captured_at > *target_.time && image_.position.txid != Txid()) return false;
  if (target_.txid && ltx.entry.max_txid > *target_.txid) {
    const bool snapshot = ltx.entry.min_txid == Txid(1);
    if (snapshot && image_.position.txid != Txid()) return true;  // an image of later: pass it over
    restore::Reachable around{image_.position.txid, ltx.entry.max_txid};
    if (image_.position.txid == Txid()) around.at_or_before.reset();
    return Error(Errc::kNotFound, "TXID " + ToString(*target_.txid) +
                                      " cannot be reached exactly: the log holds it together with others; " +
                                      restore::Describe(around));
  }
  TRY(Apply(ltx));
  return true;
}

Status LogReplay::CheckAdmitted(const ltx::Header& header, bus::Origin origin) const {
  switch (Admit(image_.position, header, origin)) {
    case Admission::kNext:
    case Admission::kCovers:
    case Admission::kDuplicate: return Ok();
    case Admission::kGap:
      return Error(Errc::kGap, "the log goes on with TXID " + ToString(header.min_txid) + ", what is there ends at " +
                                   ToString(image_.position.txid));
    case Admission::kFork:
      return Error(Errc::kRefused, "the log's TXID " + ToString(header.min_txid) + " was made from checksum " +
                                       ToString(header.pre_apply_checksum) + ", the image at " +
                                       ToString(image_.position.txid) + " has " + ToString(image_.position.checksum) +
                                       ": they are histories of different databases; restore from one of them alone");
  }
  return Ok();
}

Status LogReplay::Apply(const WalkedLtx& ltx) {
  ltx::Decoder decoder(ltx.source);
  TRY_ASSIGN(const ltx::Header header, decoder.Begin());
  TRY(CheckAdmitted(header, ltx.entry.origin));
  const bool first = image_.position.txid == Txid();
  if (first) {
    image_.lineage = ltx.header.lineage;
    image_.page_size = header.page_size;
    image_.position.checksum = Checksum::Empty();
    TRY(output_.Start(header.page_size, header.commit));
  }
  if (header.page_size != image_.page_size) {
    return Error(Errc::kRefused, "the log goes on with pages of " + std::to_string(header.page_size.raw()) +
                                     " bytes at " + ToString(header.min_txid) + ", the image has pages of " +
                                     std::to_string(image_.page_size.raw()));
  }
  // A publisher may die within a file of many messages, and its successor go on otherwise. The first image has nothing
  // to lose by that: without it there is no restore.
  const bool may_break_off = ltx.entry.ltx.empty() && !first;
  TRY(may_break_off ? ApplyThroughScratch(decoder, header) : ApplyPages(decoder, header));
  image_.captured_at = ltx.entry.captured_at;
  ++image_.files;
  return Ok();
}

Status LogReplay::SetPage(Pgno pgno, Bytes page) {
  const size_t index = pgno.raw() - 1;
  if (index >= image_.checksums.size()) {
    // Grown by what really came, not by what a header says.
    image_.checksums.resize(index + 1);
  }
  const Checksum checksum = ltx::PageChecksum(pgno, page);
  image_.position.checksum = image_.position.checksum.Toggle(image_.checksums[index]).Toggle(checksum);
  image_.checksums[index] = checksum;
  bytes_ += page.size();
  return output_.Write(pgno, page);
}

Status LogReplay::ApplyPages(ltx::Decoder& decoder, const ltx::Header& header) {
  while (true) {
    TRY_ASSIGN(const std::optional<ltx::Page> page, decoder.Next());
    if (!page) break;
    TRY(SetPage(page->pgno, page->data));
    if (progress_) progress_(bytes_);
  }
  TRY_ASSIGN(const ltx::Trailer trailer, decoder.Finish());
  return FinishFile(header, trailer);
}

Status LogReplay::ApplyThroughScratch(ltx::Decoder& decoder, const ltx::Header& header) {
  TRY_ASSIGN(File scratch, File::CreateOrTruncate(scratch_, 0600));
  TRY(RemoveFile(scratch_));  // nobody else needs its name, and nothing is left behind
  std::vector<Pgno> pages;
  const uint64_t page_bytes = header.page_size.raw();
  while (true) {
    TRY_ASSIGN(const std::optional<ltx::Page> page, decoder.Next());
    if (!page) break;
    TRY(scratch.WriteAt(pages.size() * page_bytes, page->data));
    pages.push_back(page->pgno);
  }
  TRY_ASSIGN(const ltx::Trailer trailer, decoder.Finish());
  std::vector<std::byte> page(page_bytes);
  for (size_t i = 0; i < pages.size(); ++i) {
    TRY(scratch.ReadExactAt(i * page_bytes, page));
    TRY(SetPage(pages[i], page));
    if (progress_) progress_(bytes_);
  }
  return FinishFile(header, trailer);
}

Status LogReplay::FinishFile(const ltx::Header& header, const ltx::Trailer& trailer) {
  while (image_.checksums.size() > header.commit) {
    image_.position.checksum = image_.position.checksum.Toggle(image_.checksums.back());
    image_.checksums.pop_back();
  }
  image_.page_count = header.commit;
  image_.position.txid = header.max_txid;
  if (image_.position.checksum == trailer.post_apply_checksum) return Ok();
  return Error(Errc::kCorrupt, "the image at " + ToString(header.max_txid) + " has checksum " +
                                   ToString(image_.position.checksum) + ", the log says " +
                                   ToString(trailer.post_apply_checksum));
}

}  // namespace runnel::subscriber
