// What an archive holds, in one small object: readers find everything without a listing, and writers agree by replacing
// it only over the version they have read (bytes: MANIFEST.md).
//
// Invariants:
//   I1  An object named here is whole in the store: it is put first, named then, and unnamed before it is deleted.
//   I2  An archive has one lineage and one page size for ever.
//   I3  Sorted by kind, level, max_txid, min_txid, without doubles.
//   I4  `position` is the end of the newest segment; log messages up to `log_seq` (of that incarnation) are in it.
//
// Condemned objects are superseded (by a higher level, a merged segment, or the retention) and are deleted when readers
// that still hold an older manifest have had time. A new reader does not use them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bus/bus.h"
#include "bus/envelope.h"
#include "ltx/base/bytes.h"
#include "ltx/base/result.h"
#include "ltx/format/types.h"
#include "subscriber/archive/layout.h"

namespace runnel::archive {

// More is an archive whose settings do not fit its size; 18 MiB.
inline constexpr uint32_t kManifestObjectsMax = 1u << 18;
inline constexpr uint64_t kManifestBytesMax = 20 << 20;

struct ArchivedObject {
  ObjectName name;
  uint32_t page_count = 0;       // of the database at max_txid (LTX: commit)
  Checksum checksum;             // of the database at max_txid
  bus::CaptureTime captured_at;  // of max_txid's commit
  uint64_t bytes = 0;
  uint64_t file_checksum = 0;     // level: of the LTX trailer; segment: of the footer
  bus::StreamSeq last_seq;        // segment: of the log message that ended it; else 0
  bus::CaptureTime condemned_at;  // epoch: not condemned
  bool condemned() const { return condemned_at != bus::CaptureTime(); }
  Position position() const { return {name.max_txid, checksum}; }
  bool operator==(const ArchivedObject&) const = default;
};

struct Manifest {
  uint64_t revision = 0;  // +1 with each write
  bus::Lineage lineage;
  bus::Epoch epoch;  // newest seen in the log: messages of older ones behind it are void
  PageSize page_size;
  std::string database;  // name of the log
  std::string writer;    // node that wrote it, for people
  bus::CaptureTime written_at;
  Position position;             // everything up to here is archived
  bus::CaptureTime captured_at;  // of that position
  // The end of the newest LTX that was not made from the image before it (it holds all pages changed since an older
  // TXID): proven when a snapshot at or behind it has the right checksum. 0: none.
  Txid unproven_txid;
  std::string incarnation;  // of the log that `log_seq` and `last_seq` belong to
  bus::StreamSeq log_seq;
  std::vector<ArchivedObject> objects;

  // Not condemned ones, in order of their max_txid.
  std::vector<ArchivedObject> Live(ObjectKind kind, uint8_t level) const;
  // nullptr: not named here.
  const ArchivedObject* Find(const ObjectName& name) const;
  // In its place (I3); replaces one of the same name.
  void Insert(ArchivedObject object);

  bool operator==(const Manifest&) const = default;
};

std::string EncodeManifest(const Manifest& manifest);
// Errors: kCorrupt, kUnsupported (a newer version).
Result<Manifest> DecodeManifest(Bytes bytes);

}  // namespace runnel::archive
