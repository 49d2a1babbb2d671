#include "publisher/log_end.h"

#include <string>
#include <variant>

namespace runnel::publisher {
namespace {

// Where `entry` ends. A snapshot holds everything up to there, so it may come wherever it does not lead back.
Result<Txid> Continue(Txid from, const bus::Entry& entry) {
  const bool snapshot = entry.origin == bus::Origin::kSnapshot;
  const bool follows = snapshot ? entry.max_txid >= from : from != Txid() && entry.min_txid == from.Next();
  if (follows) return entry.max_txid;
  return Error(Errc::kGap, "LTX " + ToString(entry.min_txid) + "-" + ToString(entry.max_txid) +
                               " does not follow on TXID " + ToString(from) + ", where the log ends");
}

}  // namespace

Result<LogEnd> LogEnd::After(const bus::Envelope& envelope) const {
  if (std::holds_alternative<bus::Heartbeat>(envelope.body)) return *this;
  if (const auto* commits = std::get_if<bus::Commits>(&envelope.body)) {
    LogEnd end{.txid = txid};
    for (const bus::Entry& entry : commits->entries) {
      TRY_ASSIGN(end.txid, Continue(end.txid, entry));
    }
    return end;
  }
  const auto* chunk = std::get_if<bus::Chunk>(&envelope.body);
  if (chunk == nullptr) return LogEnd{.txid = txid};
  const Txid max_txid = chunk->entry.max_txid;
  if (chunk->index != 0 && (chunk->index != chunks || max_txid != chunked)) {
    return Error(Errc::kGap, "chunk " + std::to_string(chunk->index) + " of the LTX of TXID " + ToString(max_txid) +
                                 " does not follow on the chunks before it");
  }
  TRY_ASSIGN(const Txid end, Continue(txid, chunk->entry));
  if (chunk->last) return LogEnd{.txid = end};
  return LogEnd{.txid = txid, .chunks = chunk->index + 1, .chunked = max_txid};
}

}  // namespace runnel::publisher
