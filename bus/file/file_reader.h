// Reads a file log from one place on, following it from segment to segment. Takes no lock except to settle a doubt.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bus/bus.h"
#include "bus/file/locator.h"
#include "bus/file/log_dir.h"
#include "bus/file/segment_scanner.h"
#include "bus/file/wakeup.h"

namespace runnel::bus::file {

class FileReader : public LogReader {
 public:
  // Hands out records from `place` on, passing over those before `seq_min` and `time_min` (which lie in the future).
  // `wakeup` watched the directory before `place` was found, so nothing that came later is missed.
  struct Start {
    Place place;
    StreamSeq seq_min;
    WallTime time_min = WallTime::min();
  };
  FileReader(LogDir dir, Incarnation incarnation, const Start& start, std::unique_ptr<Wakeup> wakeup);

  Result<Message> Next(SteadyTime deadline, std::stop_token stop) override;

 private:
  // nullopt: nothing new at our place.
  Result<std::optional<Message>> TakeOne();
  // Something that is no record stands at our place: kGap when it is damage, Ok when it may still become a record.
  Status JudgeBadPlace(const ScanStep& step);
  // Looks at leader file and segments: moves on to the next segment (true), or says what has happened to ours.
  Result<bool> LookAround();
  Result<bool> FindFirstSegment(const LeaderState& leader, const std::vector<StreamSeq>& segments);
  Result<bool> MoveOn(const LeaderState& leader, const std::vector<StreamSeq>& segments);
  Status OpenSegment(StreamSeq segment);
  Error Trimmed(const LeaderState& leader) const;
  Error Gap(const std::string& what) const;

  const LogDir dir_;
  const Incarnation incarnation_;
  Start start_;
  std::unique_ptr<Wakeup> wakeup_;
  StreamSeq next_seq_;
  std::optional<SegmentScanner> scanner_;  // none: the log has no segment yet
  bool look_around_ = true;
  uint64_t judged_bytes_ = 0;  // file size at which the bad place was last judged a torn tail
  std::optional<Error> gap_;   // once seen, for ever
};

}  // namespace runnel::bus::file
