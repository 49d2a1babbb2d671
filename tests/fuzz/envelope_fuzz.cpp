// libFuzzer entry for the envelope: four ways of looking at one message, which must agree; and a message of packed
// files around any block, which bytes by chance would hardly ever become.
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "bus/chunker.h"
#include "bus/commits_view.h"
#include "bus/envelope.h"
#include "bus/outline.h"
#include "bus/packer.h"
#include "ltx/base/check.h"

namespace runnel::bus {
namespace {

void CheckMessage(std::string_view payload) {
  Result<Header> header = DecodeHeader(payload);
  Result<Outline> outline = DecodeOutline(payload);
  Result<Envelope> envelope = Decode(payload);
  CHECK(!outline.ok() || header.ok(), "an outline without a header");
  Result<std::optional<CommitsView>> view = ViewCommits(payload);
  const bool commits = envelope.ok() && std::holds_alternative<Commits>(envelope->body);
  CHECK(commits == (view.ok() && view->has_value()), "a view of what is no message of commits, or none of one");
  if (!envelope.ok()) return;
  CHECK(outline.ok(), "the cheap look refuses what the full one takes");
  CHECK(outline->header.position == envelope->header.position, "two positions");
  const std::string encoded = Encode(*envelope);
  Result<Envelope> again = Decode(encoded);
  CHECK(again.ok(), "what was taken cannot be written");
  CHECK(Encode(*again) == encoded, "a second encoding differs");
  Result<Envelope> packed = Decode(Packer().Encode(*envelope, std::chrono::steady_clock::now()));
  CHECK(packed.ok(), "what was packed cannot be read");
  CHECK(Encode(*packed) == encoded, "packing changes a message");
  if (const Chunk* chunk = std::get_if<Chunk>(&envelope->body)) {
    ChunkJoiner joiner(1 << 20);
    (void)joiner.Add(envelope->header, *chunk).ok();
    (void)joiner.Add(envelope->header, *chunk).ok();
  }
}

// Three commits whose files have the sizes that `sizes` says, and any block that is said to hold them.
std::string Packed(const uint8_t (&sizes)[3], std::string_view block) {
  Envelope envelope;
  Commits commits;
  uint64_t bytes = 0;
  for (const uint8_t size : sizes) {
    Entry entry;
    entry.min_txid = entry.max_txid = Txid(1 + commits.entries.size());
    entry.ltx.assign(size, 'x');
    bytes += size;
    commits.entries.push_back(std::move(entry));
  }
  envelope.header.lineage = *ParseLineage("000102030405060708090a0b0c0d0e0f");
  envelope.header.epoch = Epoch(1);
  envelope.header.database = "app";
  envelope.header.min_txid = Txid(1);
  envelope.header.position = {Txid(3), Checksum(0x8123456789abcdef)};
  envelope.header.page_size = PageSize(4096);
  envelope.body = std::move(commits);
  return EncodePacked(std::move(envelope), {bytes, std::string(block)});
}

}  // namespace
}  // namespace runnel::bus

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace runnel::bus;
  const std::string_view payload(reinterpret_cast<const char*>(data), size);
  CheckMessage(payload);
  if (size > 3) CheckMessage(Packed({data[0], data[1], data[2]}, payload.substr(3)));
  return 0;
}
