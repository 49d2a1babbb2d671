// Notes of nodes on Kafka: topic runnel-notes.<name>, compacted, one partition; key and text of a note are key and
// value of a record. Nothing of the log depends on it; it may be deleted at any time, and who may not make it, or write
// to it, leaves no notes.
//
// The name begins differently from those of logs, so that no database can have a log of that name, nor one that Kafka
// takes for the same (to its metrics '.' and '_' are one).
#pragma once

#include <map>
#include <string>
#include <vector>

#include "bus/bus.h"
#include "bus/kafka/client.h"
#include "bus/kafka/record.h"
#include "ltx/base/result.h"
#include "ltx/base/sync.h"

namespace runnel::bus::kafka {

// The endpoint of the notes beside the log of this one.
Endpoint NotesOf(const Endpoint& log, const std::string& database);

// What the notes of all logs of a process are written with: a producer of their own, as a message that fails may stop
// one that logs share. THREAD: any; one note after the other.
class NotesWriter {
 public:
  explicit NotesWriter(Servers servers) : servers_(std::move(servers)) {}

  // On return the note is stored, as durable as the topic is. Makes the topic if there is none. A cluster that did not
  // answer the last note is not asked again for a few seconds, as a node may have notes for many logs. Errors: kInvalid
  // (too long; not permitted), kUnavailable.
  Status Put(Inspector& inspector, const Note& note) EXCLUDES_LOCK(mutex_);

 private:
  Status Open() REQUIRES_LOCK(mutex_);
  Status Send(Inspector& inspector, const Note& note) REQUIRES_LOCK(mutex_);

  const Servers servers_;
  Mutex mutex_;  // held across IO
  SteadyTime away_until_ GUARDED_BY(mutex_);
  std::unique_ptr<Client> client_ GUARDED_BY(mutex_);
  std::map<std::string, TopicHandle> topics_ GUARDED_BY(mutex_);  // known to be there
};

// The last note of each key. Errors: kUnavailable, kInvalid.
Result<std::vector<Note>> ReadNotes(Inspector& inspector);

}  // namespace runnel::bus::kafka
