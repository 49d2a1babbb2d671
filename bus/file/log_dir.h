// The directory of one log and its `leader` file.
//
//   <dir>/NAME/
//     leader                        who may append, and where the log starts; its file lock is THE lock of the log
//     00000000000000000001.seg      segments, named by their first sequence; only the last one grows
//     00000000000000084211.seg
//     *.tmp                         a file being made; removed by the next writer
//
// The log exists when `leader` exists. Whoever changes anything but a *.tmp holds the lock (an OFD lock: it belongs to
// the open file, so it works between threads as between processes, and dies with its holder). It is held for
// microseconds: a write of a group of messages, never a wait for the disk except when a segment is closed.
#pragma once

#include <cstdint>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "bus/bus.h"
#include "bus/file/segment.h"
#include "ltx/base/fs.h"
#include "ltx/base/result.h"

namespace runnel::bus::file {

// Content of `leader`, 64 bytes: magic "RNLLEAD1", CRC-32C of bytes 12..63, version 1, incarnation, fence, first
// sequence, zeros.
struct LeaderState {
  Incarnation incarnation;
  uint64_t fence = 0;      // +1 with each take-over: a writer whose number is not this one appends nothing
  StreamSeq first_seq{1};  // messages before it have been given up
};
std::string EncodeLeader(const LeaderState& state);
Result<LeaderState> DecodeLeader(Bytes bytes);

class LogDir {
 public:
  explicit LogDir(std::string path) : path_(std::move(path)) {}

  const std::string& path() const { return path_; }
  std::string leader_path() const { return path_ + "/leader"; }
  std::string SegmentPath(StreamSeq first_seq) const;

  // DURABLE: the directory and its leader file. Does nothing when the log exists.
  Status Create() const;

  // kNotFound: no such log; kCorrupt.
  Result<LeaderState> ReadLeader() const;

  // First sequences of the segments, rising.
  Result<std::vector<StreamSeq>> Segments() const;

  // Makes a segment with only its header under its final name. DURABLE if `sync`. REQUIRES: the lock.
  Result<File> CreateSegment(const SegmentHeader& header, bool sync) const;

  // Deletes segments of which all messages are before `first_seq`; the last one always stays. REQUIRES: the lock.
  Status DeleteSegmentsBefore(StreamSeq first_seq) const;
  void DeleteTemporaries() const;

 private:
  std::string path_;
};

// The open leader file: lock, and state under the lock. One thread.
class LeaderFile {
 public:
  // kNotFound: no such log.
  static Result<LeaderFile> Open(const LogDir& dir);

  // Held until the Lock goes.
  class Lock {
   public:
    Lock(Lock&& other) noexcept : file_(std::exchange(other.file_, nullptr)) {}
    Lock& operator=(Lock&&) = delete;
    ~Lock();

   private:
    friend class LeaderFile;
    explicit Lock(const LeaderFile* file) : file_(file) {}
    const LeaderFile* file_;
  };
  // Waits for the lock. kCancelled on stop; kUnavailable when the file was deleted or replaced (then the log is another
  // one). LIFETIME: the LeaderFile must stay where it is while the Lock lives.
  Result<Lock> Acquire(std::stop_token stop) const;

  Result<LeaderState> Read() const;
  Status Write(const LeaderState& state, bool sync);  // REQUIRES: the lock

 private:
  explicit LeaderFile(File file) : file_(std::move(file)) {}
  Status CheckStillThere() const;

  File file_;
};

}  // namespace runnel::bus::file
