// From LTX to a visible commit of the replica: decode, hand every page over, commit. The replica proves the post-apply
// checksum before anything becomes visible, and the decoder the file's, so a corrupt LTX never gets further than an
// error here.
#pragma once

#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "bus/envelope.h"
#include "ltx/base/result.h"
#include "ltx/format/decoder.h"
#include "subscriber/replica/replica.h"

namespace runnel::subscriber {

class Applier {
 public:
  Applier(replica::Replica& replica, std::stop_token stop) : replica_(replica), stop_(std::move(stop)) {}

  // One LTX as one visible commit. `only_differing`: skip pages whose checksum the replica already has (snapshots,
  // deltas). Errors: kCorrupt (file or resulting image), the source's; the replica is then unchanged.
  Status Apply(ltx::ByteSource& source, bool only_differing);

  // Several consecutive LTX files as one visible commit: the newest version of each page wins. REQUIRES: TXIDs
  // ascending without gaps, entries.size() >= 1.
  Status ApplyUnion(const std::vector<bus::Entry>& entries);

 private:
  // Begins a commit; while the replica pauses at its WAL limit (readers keep the WAL busy), waits and helps.
  Status Begin(PageSize page_size);

  replica::Replica& replica_;
  std::stop_token stop_;
};

}  // namespace runnel::subscriber
