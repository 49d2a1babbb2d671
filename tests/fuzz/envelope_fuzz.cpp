// libFuzzer entry for the envelope: three ways of looking at one message, which must agree.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "bus/chunker.h"
#include "bus/envelope.h"
#include "bus/outline.h"
#include "ltx/base/check.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace runnel::bus;
  std::string_view payload(reinterpret_cast<const char*>(data), size);
  runnel::Result<Header> header = DecodeHeader(payload);
  runnel::Result<Outline> outline = DecodeOutline(payload);
  runnel::Result<Envelope> envelope = Decode(payload);
  CHECK(!outline.ok() || header.ok(), "an outline without a header");
  if (!envelope.ok()) return 0;
  CHECK(outline.ok(), "the cheap look refuses what the full one takes");
  CHECK(outline->header.position == envelope->header.position, "two positions");
  std::string encoded = Encode(*envelope);
  runnel::Result<Envelope> again = Decode(encoded);
  CHECK(again.ok(), "what was taken cannot be written");
  CHECK(Encode(*again) == encoded, "a second encoding differs");
  if (const Chunk* chunk = std::get_if<Chunk>(&envelope->body)) {
    ChunkJoiner joiner(1 << 20);
    (void)joiner.Add(envelope->header, *chunk).ok();
    (void)joiner.Add(envelope->header, *chunk).ok();
  }
  return 0;
}
