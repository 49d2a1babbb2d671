// Takes a database image forward along the log, commit by commit, before anybody has seen it: the second half of a
// restore (subscriber/restore/ is the first).
//
// Every file must continue the image exactly: its pre-apply checksum is ours before it, its post-apply checksum is ours
// behind it. So whatever a bus did, what comes out is the image of the position it is said to be.
//
// THREAD: one. LIFETIME: log and output must outlive it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "bus/bus.h"
#include "bus/envelope.h"
#include "ltx/base/fs.h"
#include "ltx/base/result.h"
#include "ltx/base/time.h"
#include "ltx/format/decoder.h"
#include "ltx/format/types.h"
#include "subscriber/log_walk.h"
#include "subscriber/restore/output_file.h"

namespace runnel::subscriber {

// An image that is being made. Position 0: nothing is there yet, the first file must be a snapshot.
struct ReplayedImage {
  std::optional<bus::Lineage> lineage;  // unknown for archives of others
  Position position;
  PageSize page_size;
  uint32_t page_count = 0;
  std::vector<Checksum> checksums;  // by page number - 1; of the lock page 0
  bus::CaptureTime captured_at;
  uint64_t files = 0;  // of the log, applied
};

// Where to stop: at exactly this TXID, before the first commit captured later than this, or (neither) at the log's end.
struct ReplayTarget {
  std::optional<Txid> txid;
  std::optional<WallTime> time;
};

class LogReplay {
 public:
  LogReplay(bus::Log& log, restore::OutputFile& output, ReplayedImage image, std::string scratch)
      : log_(log), output_(output), image_(std::move(image)), scratch_(std::move(scratch)) {}

  // Reads from `start` on. Errors: kNotFound when the asked TXID is not there exactly (names its neighbours); kGap,
  // kRefused (the log does not continue the image); kCorrupt; the bus's; the output's. After an error the output is
  // to be thrown away.
  Status Run(bus::StreamSeq start, const ReplayTarget& target, const std::function<void(uint64_t)>& progress,
             std::stop_token stop);

  const ReplayedImage& image() const { return image_; }

 private:
  Result<bool> Visit(const WalkedLtx& ltx);
  Status Apply(const WalkedLtx& ltx);
  Status ApplyPages(ltx::Decoder& decoder, const ltx::Header& header);
  Status ApplyThroughScratch(ltx::Decoder& decoder, const ltx::Header& header);
  Status SetPage(Pgno pgno, Bytes page);
  Status FinishFile(const ltx::Header& header, const ltx::Trailer& trailer);
  Status CheckAdmitted(const ltx::Header& header, bus::Origin origin) const;

  bus::Log& log_;
  restore::OutputFile& output_;
  ReplayedImage image_;
  const std::string scratch_;  // a file for files that may break off
  ReplayTarget target_;
  std::function<void(uint64_t)> progress_;
  uint64_t bytes_ = 0;
};

}  // namespace runnel::subscriber
