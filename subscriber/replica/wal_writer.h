// Writes commits into the WAL of a live database as SQLite itself would, on borrowed handles, so that stock readers see
// each one whole or not at all. Knows frames, salts and the wal-index; knows nothing of positions or checksums of
// databases.
//
// Walk of one commit: Start, Add..., Seal, Finish, Publish. Start..Finish write beyond the published max_frame, which
// no reader looks at; Publish is the one store sequence that makes all of it visible. Discard forgets what was not
// published.
//
// From Finish on the commit can appear without Publish: if everybody dies, the next connection recovers the index from
// the file and finds a whole commit there. So whatever has to be remembered about a commit is remembered between Seal
// and Finish, and a commit that was finished but not published is cut off before anything else is remembered.
//
// I1  The caller holds the WRITE lock from Adopt on, for the writer's whole life: nobody else changes header or frames.
// I2  Memory is one buffer (kBufferBytes or one frame) whatever the size of a commit.
// I3  The reset order is safer than SQLite's own: nBackfill is cleared before the header says "empty", because a
//     process killed between SQLite's two stores leaves nBackfill > max_frame, and readers then ignore the next
//     writer's frames.
// THREAD: one at a time. LIFETIME: `live` outlives the writer.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "ltx/base/bytes.h"
#include "ltx/base/result.h"
#include "ltx/format/types.h"
#include "ltx/sqlite/live/live_db.h"
#include "subscriber/replica/wal_index_map.h"

namespace runnel::replica {

// Names the content of a WAL: after a crash, equal identities mean that nobody has committed in between, since the
// frame checksum runs over all frames. All zero: an unused WAL, which names nothing.
struct WalIdentity {
  uint32_t salt[2] = {0, 0};
  uint32_t max_frame = 0;
  uint32_t frame_checksum[2] = {0, 0};

  // The same frames. False for two unused WALs: those can belong to any image.
  bool Matches(const WalIdentity& other) const;
};

struct CheckpointOutcome {
  bool busy = false;      // somebody else is checkpointing, or a reader holds slot 0
  bool complete = false;  // every frame is in the database file
  uint32_t frames = 0;    // nBackfill moved forward by this many
};

class WalWriter {
 public:
  explicit WalWriter(sqlite::LiveDb& live);

  // Takes over the wal-index as it is; recovers it when its header is torn or nBackfill > max_frame (both left by
  // killed processes). Errors: kUnavailable (somebody holds CKPT or RECOVER), kIo.
  Status Adopt();
  // The live header is the one we published last.
  bool Undisturbed() const;
  // Rebuilds the wal-index from the frames of the WAL file.
  Status Recover();
  uint64_t recoveries() const { return recoveries_; }

  WalIdentity identity() const { return IdentityOf(header_); }
  uint32_t max_frame() const { return header_.max_frame; }
  uint32_t backfill() const { return live_.backfill(); }
  // Pages of the image; 0 when the wal-index does not say (then the file size does).
  uint32_t page_count() const { return header_.page_count; }

  // Commit. `sync_header`: fsync the WAL header of a WAL that starts over.
  Status Start(bool sync_header);
  Status Add(Pgno pgno, Bytes page);
  // REQUIRES: at least one Add. Fixes the identity; the frame with the commit mark is not in the file yet.
  WalIdentity Seal(uint32_t page_count);
  Status Finish();
  void Publish();
  Status Discard();
  // Makes frames behind the published ones, left by a killed writer or a failed commit, unfit for recovery.
  Status CutTail();

  // Starts the WAL over if every frame is in the database file and no reader needs the WAL; false: not now. `announce`
  // gets the new identity before anything is stored. `keep_bytes`: a larger WAL file is cut to nothing.
  Result<bool> TryReset(const std::function<void(const WalIdentity&)>& announce, uint64_t keep_bytes);
  // Copies frames into the database file as far as readers allow. `sync`: WAL before, database after.
  Result<CheckpointOutcome> Checkpoint(bool sync);

  // One page of the published image.
  Status ReadPage(Pgno pgno, MutableBytes out) const;
  // The same page as the database file has it. It is older as long as IsCopied is false.
  Status ReadFilePage(Pgno pgno, MutableBytes out) const;
  // The page has frames, and the newest one is in the database file: nobody will write the page there again before the
  // next commit. A checkpoint of somebody else can only make this true.
  Result<bool> IsCopied(Pgno pgno) const;
  // One frame, published or not.
  Status ReadFrame(uint32_t frame, MutableBytes page) const;
  Result<Pgno> PageOf(uint32_t frame) const { return map_.PageOf(frame); }

 private:
  static WalIdentity IdentityOf(const sqlite::WalIndexHeader& header);
  Status StartOver(bool sync_header);
  void EncodeBuffered(uint32_t commit_pages);
  Status WriteBuffered();
  void PlantReadMark();
  Status RebuildFromFile(WalIndexMap::Rebuild& rebuild, sqlite::WalIndexHeader& header) const;
  uint32_t RaiseReadMarks();
  Status CopyFrames(uint32_t first, uint32_t last);
  Status CopyPages(const std::vector<std::pair<uint32_t, uint32_t>>& newest);  // (pgno, frame), ascending

  sqlite::LiveDb& live_;
  const uint32_t page_size_;
  const size_t frame_bytes_;
  const uint32_t buffer_frames_;
  WalIndexMap map_;
  sqlite::WalIndexHeader header_{};  // as published
  sqlite::WalIndexHeader next_{};    // with the frames flushed so far
  std::vector<std::byte> buffer_;
  uint32_t buffered_ = 0;
  uint64_t recoveries_ = 0;
};

// Locks of a LiveDb, given back at the end of the block.
class HeldLocks {
 public:
  HeldLocks(sqlite::LiveDb& live, int lock, int count) : live_(live), lock_(lock), count_(count) {}
  ~HeldLocks() { live_.UnlockExclusive(lock_, count_); }
  HeldLocks(const HeldLocks&) = delete;
  HeldLocks& operator=(const HeldLocks&) = delete;

 private:
  sqlite::LiveDb& live_;
  const int lock_;
  const int count_;
};

}  // namespace runnel::replica
