// The LTX files of a log from one commit on, as a feed takes them. The seam to other places that hold the same files
// (an archive's segments) is the visitor: whoever can show FeedEntry after FeedEntry can stand in.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <stop_token>

#include "bus/bus.h"
#include "bus/commits_view.h"
#include "bus/envelope.h"
#include "bus/epoch_fence.h"
#include "ltx/base/result.h"
#include "subscriber/feed/feeder.h"

namespace runnel::subscriber {

// Where a feed stands in one history, and which file may come next. THREAD: one.
class FeedCursor {
 public:
  // Takes one file, and returns the position it led to, proven.
  using Visitor = std::function<Result<Position>(const feed::FeedEntry&)>;

  FeedCursor(const feed::LineageId& lineage, Position position) : lineage_(lineage), position_(position) {}

  // Shows the file, unless the position covers it. Errors: kGap (commits are missing before it), kRefused (a fork), the
  // visitor's.
  Status Show(const bus::EntryInfo& entry, const ltx::Header& header, ltx::ByteSource& source, const Visitor& visit);

  const feed::LineageId& lineage() const { return lineage_; }
  // Behind the last file that was taken.
  const Position& position() const { return position_; }

 private:
  const feed::LineageId lineage_;
  Position position_;
};

// THREAD: one. LIFETIME: the log.
class FeedEntries {
 public:
  using Visitor = FeedCursor::Visitor;

  // Begins behind `position` of `lineage`. Errors: kGap (the log begins later), those of the log.
  static Result<std::unique_ptr<FeedEntries>> Open(bus::Log& log, const feed::LineageId& lineage, Position position,
                                                   std::stop_token stop);

  // Reads one message and shows its files, without those that `position` covers. Errors: kTimeout (none before the
  // deadline), kGap (commits are missing, or the publisher died inside a file), kRefused (another lineage, a fork), the
  // visitor's, those of the log.
  Status Next(bus::SteadyTime deadline, std::stop_token stop, const Visitor& visit);

  // Behind the last file that was taken.
  const Position& position() const { return cursor_.position(); }

 private:
  FeedEntries(const feed::LineageId& lineage, Position position) : cursor_(lineage, position) {}
  Status Handle(bus::Message message, std::stop_token stop, const Visitor& visit);
  Status PassOver(const bus::Message& message, const Error& error) const;
  Result<bool> Counts(const bus::Header& header);
  Status HandleCommits(const bus::CommitsView& commits, const Visitor& visit);
  Status HandleChunk(bus::Envelope envelope, bus::StreamSeq seq, std::stop_token stop, const Visitor& visit);
  Status HandlePosition(const Position& head) const;

  FeedCursor cursor_;
  bus::EpochFence fence_;
  std::unique_ptr<bus::LogReader> reader_;
  std::optional<bus::Message> interruption_;
};

feed::FeedEntry FeedEntryOf(const bus::EntryInfo& entry, const bus::Lineage& lineage, ltx::ByteSource& source);

}  // namespace runnel::subscriber
