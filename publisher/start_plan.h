// What a publisher does when it meets a log: a pure decision over what the log, the page table and the command line
// say. The whole identity check is here, so that it can be read and tested as a table.
#pragma once

#include <optional>
#include <string>

#include "bus/envelope.h"
#include "ltx/format/types.h"
#include "publisher/log_head.h"

namespace runnel::publisher {

// What the page table beside the database says. Its position is a released one.
struct TableFacts {
  bus::Lineage lineage;
  bus::Epoch epoch;  // of this database's last leadership, or of later ones that have published nothing
  Position position;
};

struct StartFacts {
  LogHead head;
  std::optional<TableFacts> table;  // nullopt: none, or unusable
  PageSize page_size;               // of the database
  bool new_lineage = false;         // --new-lineage
};

enum class StartAction {
  kNewLineage,     // snapshot as TXID 1 of a new history
  kSnapshotAgain,  // the log is gone: snapshot in the table's lineage
  kContinue,       // table and log agree: from the WAL if it still holds that point, else by comparing images
  kRollForward,    // the log is ahead of the table (killed before noting acks): read it into the table, then kContinue
  kCompareFrom,    // the log lost its end: compare the image with the table, publish the difference behind the head
  kAdopt,          // no table, or another publisher has gone on since: only if the image's checksum is the head's
  kRefuse,
};

struct StartPlan {
  StartAction action;
  std::string reason;  // one sentence, for the log or the refusal
};

StartPlan PlanStart(const StartFacts& facts);

// After a log lost acknowledged messages, subscribers may have seen TXIDs we no longer know of (acks not yet noted when
// we were killed). The next LTX ends this far ahead, so that none of those numbers is ever used twice.
Txid SkipLostTxids(Txid last_known);

}  // namespace runnel::publisher
