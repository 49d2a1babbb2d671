// Brings a replica to the newest position of the log whatever its image is now (fork, foreign write, unknown after a
// power cut, a new lineage), as ONE visible commit that holds only the pages that differ: readers go from the last
// image they saw to an exact one, never through an old snapshot.
//
// Two readings of the log: the first computes every page's checksum at the head (a page table in a temporary file), the
// second fetches the pages that differ, in rounds of bounded memory.
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <stop_token>
#include <string>

#include "bus/bus.h"
#include "bus/envelope.h"
#include "ltx/base/result.h"
#include "ltx/format/decoder.h"
#include "ltx/format/page_table.h"
#include "subscriber/replica/replica.h"

namespace runnel::subscriber {

struct HealReport {
  bus::Lineage lineage;
  bus::Epoch epoch;
  Position position;
  uint64_t pages = 0;  // that differed
};

class Healer {
 public:
  // `scratch`: path of a temporary file beside the replica.
  Healer(bus::Log& log, replica::Replica& replica, std::string scratch)
      : log_(log), replica_(replica), scratch_(std::move(scratch)) {}

  // Errors: kNotFound (the log holds no snapshot, or does not lead from it to its end), the bus's, the replica's.
  Result<HealReport> ToHead(std::stop_token stop);

  // ToHead failed because the log's database has pages of another size now: only a new image can follow it.
  bool other_page_size() const { return other_page_size_; }

  // Fetches these pages as of the replica's position and repairs them; returns how many were repaired.
  Result<uint64_t> RepairPages(const std::set<Pgno>& damaged, std::stop_token stop);

 private:
  Result<bus::StreamSeq> Snapshot();
  Status ReadHead(bus::StreamSeq start, std::stop_token stop);
  Status Take(ltx::ByteSource& source, const bus::Header& header, bus::Origin origin);
  Status FetchDiffering(bus::StreamSeq start, std::stop_token stop);

  bus::Log& log_;
  replica::Replica& replica_;
  const std::string scratch_;
  std::unique_ptr<ltx::PageTable> table_;  // of the head
  HealReport report_;
  bool other_page_size_ = false;
};

}  // namespace runnel::subscriber
