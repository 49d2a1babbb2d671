// The log contract: the only thing publisher and subscriber know about a bus.
//
// A Log is the ordered messages of ONE database: a JetStream stream, a Kafka partition or a file-bus directory. It
// moves payloads (encoded envelopes, bus/envelope.h) and never looks inside them. Every adapter passes
// tests/conformance/bus.
//
// Invariants an adapter must keep:
//   I1  Order: messages are read in the order in which Append accepted them, with strictly increasing sequences.
//   I2  Prefix: if message k of a LogWriter is in the log, so are its messages 1..k-1, without foreign messages between
//       them. After a failure the accepted messages are a prefix of the appended ones: never a hole.
//   I3  Fence: once TakeOver of another writer has returned, no message of an earlier writer is appended any more, or
//       every reader is certain to discard it (an adapter says which in its header; the subscriber's chain check is the
//       second line).
//   I4  Acked means durable to the log's own standard (its replication and sync settings); only acked messages count.
//   I5  Loss is visible: a reader never skips messages silently; it gets kGap with what is known.
//
// Sequences name places in one log and mean nothing elsewhere; they may have holes (Kafka's control records, trimmed
// messages). They start over when a log is deleted and made again: an incarnation text tells such logs apart.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "ltx/base/result.h"
#include "ltx/base/strong_int.h"

namespace runnel::bus {

// Place of a message in its log, from 1. 0 = "before the first".
class StreamSeq : public StrongInt<StreamSeq, uint64_t> {
 public:
  using StrongInt::StrongInt;
  constexpr StreamSeq Next() const { return StreamSeq(raw() + 1); }
};

using WallTime = std::chrono::sys_time<std::chrono::microseconds>;
using SteadyTime = std::chrono::steady_clock::time_point;

// One message as it lies in the log.
struct Message {
  StreamSeq seq;
  WallTime stored_at;   // by the bus's clock
  std::string payload;  // an encoded envelope
};

// Where a reader starts.
struct FromSequence {
  StreamSeq seq;  // the first message with at least this sequence
};
struct FromTime {
  WallTime time;  // the first message stored at or after this moment
};
struct FromEarliest {};
struct FromEnd {};  // only messages appended after the reader was opened
using StartAt = std::variant<FromSequence, FromTime, FromEarliest, FromEnd>;

// What a log is and holds right now.
struct LogInfo {
  std::string adapter;      // "file", "nats", "kafka"
  std::string name;         // database name
  std::string location;     // for people: host and stream, broker and topic, directory; no secrets
  std::string incarnation;  // differs when the log was deleted and made again; never empty
  StreamSeq first_seq;      // of the oldest message kept; 0 if there is none
  StreamSeq last_seq;       // of the newest message ever appended; 0 if none
  uint64_t message_count = 0;
  uint64_t bytes = 0;
  uint64_t missing_messages = 0;  // deleted or lost between first and last; 0 also where the bus cannot tell
  // Settings that endanger data (old messages thrown away, memory storage, ...), one sentence each with the remedy.
  std::vector<std::string> dangers;
};

// What a new writer found at the end of the log, and what it wants to append before anything else.
//
// Called by TakeOver with the last message (nullopt: empty log). Returns the marker to append right behind exactly that
// message, nullopt to continue without one (the tail is our own leadership, e.g. after a reconnect), or an error to
// give up (kConflict: a newer epoch leads; kRefused: another database's log). May be called again if the log moved
// meanwhile.
using TakeOverDecision = std::function<Result<std::optional<std::string>>(const std::optional<Message>& tail)>;

struct WriterOptions {
  // Bounds of appended but unacknowledged messages; Append waits at either.
  uint32_t inflight_messages_max = 1024;
  uint64_t inflight_bytes_max = 16 << 20;
  // Called from the adapter's thread whenever acked() or error() changed. Must only enqueue or wake, and return.
  std::function<void()> on_progress;
};

// Appends to one log as its leader, pipelined. Not thread-safe: one thread appends; acked() and error() from any
// thread. Once error() is set the writer is dead: take over again, look at the tail, and append what is missing.
class LogWriter {
 public:
  virtual ~LogWriter() = default;  // abandons what is not acked

  // Appends one message behind all earlier ones of this writer. On return it is queued, not durable. Waits while the
  // window is full. Errors: kCancelled on stop; kInvalid if larger than payload_bytes_max(); else the writer's error().
  virtual Status Append(std::string payload, std::stop_token stop) = 0;

  // How many messages of this writer, from the first, are durable in the log (the marker is not counted).
  virtual uint64_t acked() const = 0;
  // Sequence of the last acked message (the tail at TakeOver, or the marker, before that).
  virtual StreamSeq acked_seq() const = 0;

  // Ok while alive. kUnavailable: connection or server trouble, take over again. kConflict: fenced by another writer.
  virtual Status error() const = 0;

  // Waits until acked() >= count. Errors: kTimeout, kCancelled, else error().
  virtual Status WaitAcked(uint64_t count, SteadyTime deadline, std::stop_token stop) = 0;

  // Largest payload Append takes.
  virtual uint64_t payload_bytes_max() const = 0;
};

// Reads one log in order. One thread.
class LogReader {
 public:
  virtual ~LogReader() = default;

  // The next message. Errors: kTimeout when none came before the deadline (a deadline in the past only takes what is
  // already here); kCancelled on stop; kGap when messages at the reader's place are gone (trimmed, lost, or the log was
  // made again): the reader stays where it is and the caller decides where to reopen; kUnavailable when the bus is
  // away: the reader stays usable and goes on by itself when the bus is back (it reconnects inside Next).
  virtual Result<Message> Next(SteadyTime deadline, std::stop_token stop) = 0;
};

// What a node says of itself beside the log, for `runnel status`.
struct Note {
  std::string key;
  WallTime stored_at;
  std::string text;
};

// One log. Thread-safe; writers and readers must not outlive it.
class Log {
 public:
  virtual ~Log() = default;

  // Errors of all: kUnavailable (retry), kNotFound (no such log yet), kRefused (exists with dangerous settings),
  // kInvalid.
  virtual Result<LogInfo> Info() = 0;

  // Makes the log if it does not exist.
  virtual Status Create() = 0;

  // The newest message, nullopt when the log is empty.
  virtual Result<std::optional<Message>> Tail() = 0;

  // The first message with a sequence of at least `seq`, nullopt when there is none.
  virtual Result<std::optional<Message>> Get(StreamSeq seq) = 0;

  // Becomes the writer. DURABLE: the marker, if the decision gave one, is in the log right behind the message it was
  // shown.
  virtual Result<std::unique_ptr<LogWriter>> TakeOver(const TakeOverDecision& decision, WriterOptions options,
                                                      std::stop_token stop) = 0;

  virtual Result<std::unique_ptr<LogReader>> Read(StartAt start) = 0;

  // Gives up all messages before `seq`; returns when they can no longer be read by new readers.
  virtual Status TrimBefore(StreamSeq seq) = 0;

  // Notes of nodes: the last one of each key is kept, outside the log, without any promise but best effort. Keys are
  // [A-Za-z0-9_-]{1,64}, texts at most 16 KiB. An adapter without a place for them answers kUnsupported.
  virtual Status PutNote(const Note& note) { return Error(Errc::kUnsupported, note.key + ": this bus keeps no notes"); }
  virtual Result<std::vector<Note>> Notes() { return Error(Errc::kUnsupported, "this bus keeps no notes"); }
};

}  // namespace runnel::bus
