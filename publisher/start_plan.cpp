#include "publisher/start_plan.h"

namespace runnel::publisher {
namespace {

// More than can be in flight: 1024 messages of at most 1000 commits.
constexpr uint64_t kLostTxidMargin = 1u << 20;

const char kRemedy[] = "; if this database shall replace the log's history, say so with --new-lineage";

}  // namespace

StartPlan PlanStart(const StartFacts& facts) {
  const LogHead& head = facts.head;
  if (facts.new_lineage) return {StartAction::kNewLineage, "a new lineage was asked for"};
  if (head.empty) {
    if (facts.table && facts.table->position.txid != Txid()) {
      return {StartAction::kSnapshotAgain,
              "the log is empty, though this database was published up to " + ToString(facts.table->position)};
    }
    return {StartAction::kNewLineage, "the log is empty"};
  }
  if (head.page_size != facts.page_size) {
    return {StartAction::kRefuse, "the log holds a database of page size " + std::to_string(head.page_size.raw()) +
                                      ", this one has " + std::to_string(facts.page_size.raw()) + kRemedy};
  }
  if (!facts.table) {
    if (head.position.txid == Txid()) return {StartAction::kNewLineage, "the log holds no whole snapshot"};
    return {StartAction::kAdopt, "there is no page table beside the database"};
  }
  if (facts.table->lineage != head.lineage) {
    return {StartAction::kRefuse, "the log belongs to lineage " + ToString(head.lineage) + " at " +
                                      ToString(head.position) + ", this database to lineage " +
                                      ToString(facts.table->lineage) + " at " + ToString(facts.table->position) +
                                      kRemedy};
  }
  const Position& table = facts.table->position;
  if (head.position.txid == Txid()) return {StartAction::kSnapshotAgain, "the log holds no whole snapshot"};
  if (table == head.position) return {StartAction::kContinue, "log and page table agree"};
  if (head.epoch > facts.table->epoch) {
    return {StartAction::kAdopt, "another publisher has led the log since epoch " +
                                     std::to_string(facts.table->epoch.raw()) + ", and it went on to " +
                                     ToString(head.position)};
  }
  if (table.txid > head.position.txid) {
    return {StartAction::kCompareFrom, "the log ends at " + ToString(head.position) + ", but " + ToString(table) +
                                           " had been acknowledged: its end was lost"};
  }
  if (table.txid < head.position.txid) {
    return {StartAction::kRollForward, "the log is ahead of the page table"};
  }
  return {StartAction::kRefuse, "the log is at " + ToString(head.position) + ", this database at " + ToString(table) +
                                    ": same number, another image" + kRemedy};
}

Txid SkipLostTxids(Txid last_known) { return Txid(last_known.raw() + kLostTxidMargin); }

}  // namespace runnel::publisher
