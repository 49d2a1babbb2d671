// Places in a log by what its messages carry. Works over any adapter; costs reads of the log, so it is for starting up
// and for closing gaps, not for the normal path.
#pragma once

#include <optional>
#include <stop_token>

#include "bus/bus.h"
#include "bus/envelope.h"
#include "ltx/base/result.h"

namespace runnel::bus {

// Where to start reading so that every LTX whose max_txid is at least `first_needed` is read from its first byte: a
// message of whole files, or a file's chunk 0. Looks only at the newest lineage of the log (that of its tail). What an
// older epoch has got in behind newer ones is void and no place to start at.
//
// nullopt: the log holds none yet (read from its end). kGap: they are no longer in the log, or begin behind
// `first_needed`; the message says where they begin. Costs about log2(messages) single reads.
Result<std::optional<StreamSeq>> FindTxid(Log& log, Txid first_needed, std::stop_token stop = {});

struct SnapshotPlace {
  StreamSeq seq;  // read from here
  Lineage lineage;
  Txid txid;  // the image is of this commit
};

// The newest snapshot LTX of at most this TXID that is complete in the log, of the newest lineage; nullopt if there is
// none.
//
// Reads forward through windows that begin further and further back from the tail: near the tail it costs what lies
// behind the snapshot a few times over, without any snapshot it reads the whole log once.
Result<std::optional<SnapshotPlace>> FindLastSnapshot(Log& log, std::stop_token stop = {},
                                                      Txid at_most = Txid(UINT64_MAX));

// The newest SnapshotRef of the newest lineage; nullopt if there is none. Costs the same.
struct ReferencePlace {
  StreamSeq seq;
  SnapshotRef ref;
};
Result<std::optional<ReferencePlace>> FindLastReference(Log& log, std::stop_token stop = {});

// Both, of the log's part from where it holds either on: what a new subscriber begins with. Costs what lies behind the
// newer one, and never looks for an older one of the other kind.
struct ImagePlaces {
  std::optional<SnapshotPlace> snapshot;
  std::optional<ReferencePlace> reference;
};
Result<ImagePlaces> FindLastImages(Log& log, std::stop_token stop = {});

}  // namespace runnel::bus
