// Which frame holds a page, by the hash tables of the live wal-index. Frames up to a committed one that is kept by a
// pin do not change there, so no file is read and no lock is needed.
#pragma once

#include <cstdint>
#include <vector>

#include "ltx/base/result.h"
#include "ltx/format/types.h"
#include "ltx/sqlite/live/live_db.h"
#include "publisher/capture_types.h"

namespace runnel::publisher {

// Newest frame of the page that is not beyond `last_frame`, 0 if there is none. kCorrupt: the table is not one.
Result<uint32_t> NewestFrameOf(sqlite::LiveDb& db, Pgno pgno, uint32_t last_frame);

// Newest frame of each page that has one in frames 1..last_frame, by page number. Memory: 8 bytes a frame.
Result<std::vector<PageSource>> NewestFrames(sqlite::LiveDb& db, uint32_t last_frame);

}  // namespace runnel::publisher
