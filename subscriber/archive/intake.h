// From LTX files of the log to objects: small ones are gathered and become a segment and a level 0 file together; a
// large one becomes both by itself, streamed; a snapshot becomes a level 9 file. The manifest names them afterwards.
//
// Everything is decoded and verified before it is put: what the archive names was whole when it was named.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bus/bus.h"
#include "bus/envelope.h"
#include "ltx/base/result.h"
#include "ltx/format/decoder.h"
#include "ltx/format/header.h"
#include "subscriber/archive/catalog.h"
#include "subscriber/archive/manifest.h"
#include "subscriber/archive/segment.h"

namespace runnel::archive {

// One LTX of the log and its file. The rest of the record is taken from the entry.
struct IntakeFile {
  SegmentRecord record;
  std::string ltx;
};

// Decodes a whole file and checks it against what the log's message says of it and against the archive.
// Errors: kCorrupt.
struct CheckedLtx {
  ltx::Header header;
  Checksum checksum;  // after it
};
Result<CheckedLtx> CheckLtx(Bytes ltx, const bus::Entry& entry, PageSize page_size);
// The same for what a header alone tells.
Status CheckHeader(const ltx::Header& header, const bus::Entry& entry, PageSize page_size);

// Where the log and the archive are after something was taken in: goes to the manifest together with its objects.
struct IntakeEnd {
  Position position;
  bus::CaptureTime captured_at;
  bus::StreamSeq log_seq;
  bus::Epoch epoch;
  std::string incarnation;
  bool unproven = false;  // it overlaps what was there
};

class Intake {
 public:
  explicit Intake(Catalog& catalog) : catalog_(catalog) {}

  // Gathered files that follow each other, as a segment and a level 0 file. REQUIRES: at least one.
  // DURABLE: objects and manifest. Errors: those of Catalog::Update and of the store.
  Status PutFiles(const std::vector<IntakeFile>& files, const IntakeEnd& end);

  // One file as it comes. `seq` of its end is asked for when the source has ended. The end's position is set here.
  // Errors also: kCorrupt (the file), the source's; nothing is left behind then.
  using EndSeq = std::function<bus::StreamSeq()>;
  Result<Position> PutLargeFile(ltx::ByteSource& source, const bus::Entry& entry, IntakeEnd end, const EndSeq& seq);
  Result<Position> PutImage(ltx::ByteSource& source, const bus::Entry& entry, IntakeEnd end, const EndSeq& seq);

 private:
  Status Name(std::vector<ArchivedObject> objects, const IntakeEnd& end);
  Result<std::unique_ptr<store::ObjectWriter>> StartPut(const ObjectName& name, bus::CaptureTime captured_at);

  Catalog& catalog_;
};

}  // namespace runnel::archive
