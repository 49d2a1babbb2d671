#include "ltx/format/checksum.h"

#include <isa-l/crc64.h>

namespace runnel::ltx {

// ISA-L inverts on entry and on exit itself, so 0 starts a sum and its results can be fed back as they are.
void Crc64::Update(Bytes bytes) {
  if (bytes.empty()) return;
  value_ = crc64_iso_refl(value_, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
}

Checksum PageChecksum(Pgno pgno, Bytes page) {
  std::byte number[4];
  StoreBe32(number, pgno.raw());
  Crc64 crc;
  crc.Update(number);
  crc.Update(page);
  return Checksum(Checksum::kFlag | crc.value());
}

}  // namespace runnel::ltx
