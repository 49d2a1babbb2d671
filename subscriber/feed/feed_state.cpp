#include "subscriber/feed/feed_state.h"

#include <sys/mman.h>

#include <atomic>
#include <utility>

#include "ltx/base/bytes.h"
#include "ltx/format/checksum.h"

namespace runnel::feed {
namespace {

constexpr size_t kSlotBytes = 512;
constexpr size_t kSlots = 2;
constexpr uint64_t kMagic = 0x524e4c4645454431;  // "RNLFEED1"
constexpr size_t kCrcOffset = kSlotBytes - 8;

uint64_t CrcOf(Bytes slot) {
  ltx::Crc64 crc;
  crc.Update(slot.first(kCrcOffset));
  return crc.value();
}

void Encode(const FeedState& state, uint64_t number, std::byte* slot) {
  std::byte bytes[kSlotBytes] = {};
  StoreBe64(bytes, kMagic);
  StoreBe64(bytes + 8, number);
  std::memcpy(bytes + 16, state.lineage.data(), state.lineage.size());
  StoreBe32(bytes + 32, state.page_size.raw());
  StoreBe32(bytes + 36, state.page_count);
  StoreBe64(bytes + 40, state.position.txid.raw());
  StoreBe64(bytes + 48, state.position.checksum.raw());
  bytes[56] = static_cast<std::byte>(state.phase);
  bytes[57] = static_cast<std::byte>(state.snapshot_follows ? 1 : 0);
  bytes[58] = static_cast<std::byte>(!state.delivered ? 0 : state.delivered->snapshot ? 2 : 1);
  StoreBe64(bytes + 64, state.target.raw());
  if (state.delivered) {
    StoreBe64(bytes + 72, state.delivered->txid.raw());
    StoreBe64(bytes + 80, state.delivered->ordinal);
  }
  StoreBe64(bytes + 88, state.undo_number);
  StoreBe64(bytes + 96, state.tables);
  StoreBe64(bytes + kCrcOffset, CrcOf(bytes));
  std::memcpy(slot, bytes, kSlotBytes);
}

std::optional<FeedState> Decode(Bytes slot, uint64_t& number) {
  if (LoadBe64(slot.data()) != kMagic || LoadBe64(slot.data() + kCrcOffset) != CrcOf(slot)) return std::nullopt;
  FeedState state;
  number = LoadBe64(slot.data() + 8);
  std::memcpy(state.lineage.data(), slot.data() + 16, state.lineage.size());
  state.page_size = PageSize(LoadBe32(slot.data() + 32));
  state.page_count = LoadBe32(slot.data() + 36);
  state.position = {Txid(LoadBe64(slot.data() + 40)), Checksum(LoadBe64(slot.data() + 48))};
  uint8_t phase = std::to_integer<uint8_t>(slot[56]);
  if (phase > static_cast<uint8_t>(Phase::kStream)) return std::nullopt;
  state.phase = static_cast<Phase>(phase);
  state.snapshot_follows = slot[57] != std::byte{0};
  uint8_t delivered = std::to_integer<uint8_t>(slot[58]);
  state.target = Txid(LoadBe64(slot.data() + 64));
  if (delivered != 0) {
    state.delivered =
        Token{state.lineage, Txid(LoadBe64(slot.data() + 72)), delivered == 2, LoadBe64(slot.data() + 80)};
  }
  state.undo_number = LoadBe64(slot.data() + 88);
  state.tables = LoadBe64(slot.data() + 96);
  return state;
}

}  // namespace

Result<StateFile> StateFile::Open(const std::string& path) {
  TRY_ASSIGN(File file, File::OpenOrCreate(path, 0600));
  TRY_ASSIGN(uint64_t size, file.Size());
  if (size < kSlots * kSlotBytes) {
    std::byte zeros[kSlots * kSlotBytes] = {};
    TRY(file.WriteAt(0, zeros));
  }
  void* slots = mmap(nullptr, kSlots * kSlotBytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.fd(), 0);
  if (slots == MAP_FAILED) return ErrnoError(errno, "map " + path);
  StateFile out(std::move(file), static_cast<std::byte*>(slots));
  TRY(out.Read());
  return out;
}

StateFile::StateFile(StateFile&& other) noexcept
    : file_(std::move(other.file_)),
      slots_(std::exchange(other.slots_, nullptr)),
      number_(other.number_),
      state_(other.state_) {}

StateFile::~StateFile() {
  if (slots_ != nullptr) munmap(slots_, kSlots * kSlotBytes);
}

Status StateFile::Read() {
  bool untouched = true;
  for (size_t i = 0; i < kSlots; ++i) {
    Bytes slot(slots_ + i * kSlotBytes, kSlotBytes);
    uint64_t number = 0;
    if (LoadBe64(slot.data()) != 0) untouched = false;
    std::optional<FeedState> state = Decode(slot, number);
    if (!state || number <= number_) continue;
    number_ = number;
    state_ = *state;
  }
  if (number_ != 0 || untouched) return Ok();
  return Error(Errc::kCorrupt, file_.path() + ": no whole state in it; remove it to start over with --from");
}

void StateFile::Write(const FeedState& state) {
  ++number_;
  state_ = state;
  // The compiler may not move the stores before this one behind it, nor those behind it to its front; a killed process
  // has done its stores in their order.
  std::atomic_signal_fence(std::memory_order_seq_cst);
  Encode(state, number_, slots_ + number_ % kSlots * kSlotBytes);
  std::atomic_signal_fence(std::memory_order_seq_cst);
}

Status StateFile::Sync() { return file_.Sync(); }

}  // namespace runnel::feed
