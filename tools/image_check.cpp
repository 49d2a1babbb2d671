#include "tools/image_check.h"

#include <memory>
#include <vector>

#include "ltx/format/checksum.h"
#include "ltx/sqlite/live/live_db.h"
#include "publisher/capture.h"
#include "subscriber/replica/position_file.h"

namespace runnel::tools {
namespace {

// A replica commits thousands of times a second; image and note are read one after the other until both mean the same
// WAL.
constexpr int kMatchTriesMax = 200;
constexpr uint32_t kProgressPages = 4096;

bool Names(const replica::ImageMark& mark, const publisher::WalPosition& at) {
  // An empty WAL has no salts worth comparing; only the subscriber empties a replica's.
  if (mark.wal.max_frame == 0 && at.frame == 0) return true;
  return mark.wal.salt[0] == at.salt[0] && mark.wal.salt[1] == at.salt[1] && mark.wal.max_frame == at.frame;
}

}  // namespace

Result<ImageFacts> CheckImage(const std::string& path, const std::function<void(uint64_t, uint64_t)>& progress) {
  publisher::WakeHub hub;
  publisher::CaptureOptions options;
  options.path = path;
  options.checkpoint_frames = std::nullopt;
  TRY_ASSIGN(std::unique_ptr<publisher::Capture> capture, publisher::Capture::Open(options, hub));
  ImageFacts facts;
  publisher::ImagePin image;
  const std::string note = path + "-runnel/position";
  std::optional<replica::PositionRecord> unmatched;
  for (int i = 0; i < kMatchTriesMax && !facts.position; ++i) {
    TRY_ASSIGN(image, capture->PinImage());
    Result<std::unique_ptr<replica::PositionFile>> file = replica::PositionFile::Open(note);
    if (!file.ok()) {
      if (file.code() == Errc::kNotFound) break;
      return file.error();
    }
    const replica::PositionRecord& record = (*file)->record();
    if (Names(record.hi, image.at)) facts.position = record.hi.position;
    if (Names(record.lo, image.at)) facts.position = record.lo.position;
    unmatched = record;
  }
  PageSize page_size = capture->page_size();
  facts.page_size = page_size.raw();
  facts.page_count = image.page_count;
  facts.checksum = Checksum::Empty();
  std::vector<std::byte> page(page_size.raw());
  for (uint32_t raw = 1; raw <= image.page_count; ++raw) {
    if (Pgno(raw) != LockPage(page_size)) {
      TRY(capture->ReadImagePage(Pgno(raw), page));
      facts.checksum = facts.checksum.Toggle(ltx::PageChecksum(Pgno(raw), page));
    }
    if (progress && raw % kProgressPages == 0) {
      progress(uint64_t{raw} * facts.page_size, uint64_t{image.page_count} * facts.page_size);
    }
  }
  if (!facts.position && unmatched) {
    // Its WAL is not the one that was left here: it is gone, cut short by damage, or somebody else has written. The
    // image is what was left, or it is not.
    const bool newer = unmatched->hi.position.checksum == facts.checksum;
    facts.position = newer ? unmatched->hi.position : unmatched->lo.position;
  }
  return facts;
}

Result<std::string> IntegrityCheck(const std::string& path) {
  TRY_ASSIGN(std::unique_ptr<sqlite::LiveDb> live, sqlite::LiveDb::Open({.path = path}));
  return live->QueryText("PRAGMA integrity_check");
}

}  // namespace runnel::tools
