// Every named place where a crash test kills the process, in the order of the walk: bootstrap, commit, reset,
// checkpoint, recovery, detach. A test loops over this table, so a point that is added here is tested, and one that is
// only in the code is not reachable by name.
#pragma once

#include <array>
#include <string_view>

namespace runnel::replica {

inline constexpr std::array kCrashPoints = std::to_array<std::string_view>({
    "bootstrap_image_synced",      // all pages in the new file, nothing renamed
    "bootstrap_position_pending",  // the side files name the new image, the old file is still in place
    "bootstrap_renamed",           // new image in place, position still marked pending
    "apply_wal_header_written",    // first frame of an empty WAL still missing
    "apply_position_attempted",    // position names the commit, its last frame is not in the file
    "apply_frames_torn",           // a part of a write to the WAL
    "apply_frames_written",        // frames in the file, not in the hash table: recovery would find the commit
    "apply_index_partial",         // half of a write's frames in the hash table
    "apply_index_written",         // all in the hash table, header still the old one
    "apply_between_copies",        // second header copy new, first one old
    "apply_published",             // visible, page table still the old one
    "apply_table_partial",         // page table half way
    "apply_table_updated",         // page table done, position says attempted
    "apply_done",                  // position done
    "reset_announced",             // position knows the new salts, index untouched
    "reset_backfill_cleared",      // nBackfill 0, header still names the old frames
    "reset_between_copies",        // second header copy says empty, first one full
    "reset_published",             // header says empty, read marks are the old ones
    "reset_marks_cleared",         // all stored, locks still held
    "checkpoint_locked",           // read marks raised, nothing copied
    "checkpoint_wal_synced",       // nBackfillAttempted stored, nothing copied
    "checkpoint_page_copied",      // some pages copied
    "checkpoint_copied",           // all pages copied, file not cut
    "checkpoint_db_synced",        // file cut and synced, nBackfill still the old one
    "checkpoint_done",             // nBackfill stored, locks still held
    "recover_started",             // locks held, index untouched
    "recover_index_installed",     // hash table rebuilt, header still torn
    "recover_between_copies",      // second header copy new, first one torn
    "recover_published",           // header new, read marks not yet
    "detach_synced",               // all durable, position not yet marked clean
});

}  // namespace runnel::replica
