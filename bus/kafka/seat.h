// Where a writer stands in the log, and how it finds its place again after a record of somebody else came in between.
#pragma once

#include <stop_token>
#include <string>

#include "bus/bus.h"
#include "bus/kafka/record.h"

namespace runnel::bus::kafka {

// Where a writer begins. Found by KafkaLog::TakeOver.
struct Place {
  Offset next = 0;    // of its first record
  RecordId previous;  // the record that counts in front of it: the marker, or the tail
  uint64_t leadership = 0;
  bool has_marker = false;
  uint64_t payload_bytes_max = 0;
  uint64_t topic_bytes_max = 0;  // of a batch
};

// A writer whose records are displaced asks: who came in between?
struct Displaced {
  RecordId last;             // our last record that counts, or what the takeover found
  uint64_t leadership = 0;   // ours
  bool ours_in_log = false;  // `last` is ours
  bool rival_known = false;  // somebody is taking over, though nothing of it may be seen yet
  std::string symptom;       // what was seen; begins the error
};

// The offset at which the writer may go on, because nothing counts behind its last record. A rival that has shown
// itself, by a displaced marker or by fencing our producer, is given a moment to place a marker that counts. Errors:
// kConflict (a record of another writer counts behind ours: it leads); kUnavailable (cannot be known: take over again).
Result<Offset> FindSeat(Inspector& inspector, const Displaced& displaced, std::stop_token stop);

}  // namespace runnel::bus::kafka
