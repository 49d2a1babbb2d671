#include "bus/packer.h"

#include <lz4.h>

#include <utility>
#include <variant>

#include "bus/envelope_wire.h"

namespace runnel::bus {
namespace {

// A try in vain takes about 0.2 ms.
constexpr std::chrono::milliseconds kRetry{50};
// Bounds the buffers that are kept. Only ranges that caught up with a backlog are larger: those met each other already.
constexpr uint64_t kInputMax = 2 << 20;

Error Corrupt(std::string message) { return Error(Errc::kCorrupt, "envelope: " + std::move(message)); }

uint64_t LtxBytes(const Commits& commits) {
  uint64_t bytes = 0;
  for (const Entry& entry : commits.entries) bytes += entry.ltx.size();
  return bytes;
}

}  // namespace

struct Packer::State {
  LZ4_stream_t lz4;
  std::string files;
  std::string block;
};

Packer::Packer() : state_(std::make_unique<State>()) {}

Packer::~Packer() = default;

std::string Packer::Encode(Envelope envelope, std::chrono::steady_clock::time_point now) {
  const auto* commits = std::get_if<Commits>(&envelope.body);
  const uint64_t bytes = commits != nullptr && commits->entries.size() > 1 ? LtxBytes(*commits) : 0;
  if (bytes == 0 || bytes > kInputMax || now < try_at_) return bus::Encode(std::move(envelope));
  std::string& files = state_->files;
  files.clear();
  for (const Entry& entry : commits->entries) files += entry.ltx;
  // No more room than is of use: LZ4 gives up where it would not fit.
  std::string& block = state_->block;
  block.resize(bytes - bytes / 8);
  const int size = LZ4_compress_fast_extState(&state_->lz4, files.data(), block.data(), static_cast<int>(bytes),
                                              static_cast<int>(block.size()), 1);
  if (size <= 0) {
    try_at_ = now + kRetry;
    return bus::Encode(std::move(envelope));
  }
  return EncodePacked(std::move(envelope), {bytes, block.substr(0, static_cast<size_t>(size))});
}

Result<std::string> Unpack(std::string_view lz4_block, uint64_t bytes) {
  const std::string name = "packed files of " + std::to_string(bytes) + " bytes";
  if (bytes > kPayloadBytesMax) return Corrupt(name + " are more than any message may have");
  // Of any block a byte becomes 255 at most: what says more is not worth the memory.
  if (bytes / 255 > lz4_block.size()) return Corrupt(name + " are not an LZ4 block");
  std::string files(bytes, '\0');
  const int got =
      LZ4_decompress_safe(lz4_block.data(), files.data(), static_cast<int>(lz4_block.size()), static_cast<int>(bytes));
  if (got < 0 || static_cast<uint64_t>(got) != bytes) return Corrupt(name + " are not an LZ4 block of that size");
  return files;
}

}  // namespace runnel::bus
