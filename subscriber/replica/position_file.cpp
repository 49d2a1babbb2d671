#include "subscriber/replica/position_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string_view>

#include "ltx/base/check.h"
#include "ltx/format/checksum.h"

namespace runnel::replica {
namespace {

constexpr std::string_view kMagic = "RNLPOS01";
constexpr uint32_t kFlagClean = 1;
constexpr uint32_t kFlagBootstrap = 2;
constexpr uint32_t kFlagUnsynced = 4;
constexpr size_t kBootOffset = 24;
constexpr size_t kDurableOffset = 40;
constexpr size_t kStampOffset = 56;
constexpr size_t kLoOffset = 80;
constexpr size_t kMarkBytes = 72;
constexpr size_t kHiOffset = kLoOffset + kMarkBytes;
constexpr size_t kCrcOffset = kHiOffset + kMarkBytes;
static_assert(kCrcOffset + 8 == PositionFile::kSlotBytes);
static_assert(PositionFile::kSlotOffsets[1] + PositionFile::kSlotBytes <= PositionFile::kFileBytes);

void EncodePosition(const Position& position, std::byte* out) {
  StoreBe64(out, position.txid.raw());
  StoreBe64(out + 8, position.checksum.raw());
}

Position DecodePosition(const std::byte* in) { return {Txid(LoadBe64(in)), Checksum(LoadBe64(in + 8))}; }

void EncodeMark(const ImageMark& mark, std::byte* out) {
  std::memcpy(out, mark.lineage.data(), mark.lineage.size());
  EncodePosition(mark.position, out + 16);
  StoreBe32(out + 32, mark.page_count);
  StoreBe64(out + 36, mark.log_sequence);
  std::memcpy(out + 44, mark.wal.salt, sizeof mark.wal.salt);
  StoreBe32(out + 52, mark.wal.max_frame);
  StoreBe32(out + 56, mark.wal.frame_checksum[0]);
  StoreBe32(out + 60, mark.wal.frame_checksum[1]);
}

ImageMark DecodeMark(const std::byte* in) {
  ImageMark mark;
  std::memcpy(mark.lineage.data(), in, mark.lineage.size());
  mark.position = DecodePosition(in + 16);
  mark.page_count = LoadBe32(in + 32);
  mark.log_sequence = LoadBe64(in + 36);
  std::memcpy(mark.wal.salt, in + 44, sizeof mark.wal.salt);
  mark.wal.max_frame = LoadBe32(in + 52);
  mark.wal.frame_checksum[0] = LoadBe32(in + 56);
  mark.wal.frame_checksum[1] = LoadBe32(in + 60);
  return mark;
}

uint64_t Crc(Bytes bytes) {
  ltx::Crc64 crc;
  crc.Update(bytes);
  return crc.value();
}

Status WriteFile(const std::string& path, Bytes bytes) {
  int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0) return ErrnoError(errno, path);
  ssize_t written = ::write(fd, bytes.data(), bytes.size());
  int err = written < 0 ? errno : ENOSPC;
  bool synced = written == static_cast<ssize_t>(bytes.size()) && ::fsync(fd) == 0;
  if (written == static_cast<ssize_t>(bytes.size()) && !synced) err = errno;
  ::close(fd);
  return synced ? Ok() : Status(ErrnoError(err, path));
}

}  // namespace

FileStamp StampOf(const std::string& path) {
  struct stat file {};
  if (::stat(path.c_str(), &file) != 0) return {};
  uint64_t mtime_ns =
      static_cast<uint64_t>(file.st_mtim.tv_sec) * 1000000000u + static_cast<uint64_t>(file.st_mtim.tv_nsec);
  return {file.st_ino, static_cast<uint64_t>(file.st_size), mtime_ns};
}

BootId CurrentBoot() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string text;
  std::getline(file, text);
  std::erase(text, '-');
  std::string raw = FromHex(text);
  BootId boot{};
  if (raw.size() == boot.size()) std::memcpy(boot.data(), raw.data(), boot.size());
  return boot;
}

void PositionFile::Encode(const PositionRecord& record, uint64_t sequence, std::byte out[kSlotBytes]) {
  std::memset(out, 0, kSlotBytes);
  std::memcpy(out, kMagic.data(), kMagic.size());
  StoreBe64(out + 8, sequence);
  StoreBe32(out + 16, (record.clean ? kFlagClean : 0) | (record.bootstrap ? kFlagBootstrap : 0) |
                          (record.unsynced ? kFlagUnsynced : 0));
  StoreBe32(out + 20, record.page_size.raw());
  std::memcpy(out + kBootOffset, record.boot.data(), record.boot.size());
  EncodePosition(record.durable, out + kDurableOffset);
  StoreBe64(out + kStampOffset, record.stamp.inode);
  StoreBe64(out + kStampOffset + 8, record.stamp.bytes);
  StoreBe64(out + kStampOffset + 16, record.stamp.mtime_ns);
  EncodeMark(record.lo, out + kLoOffset);
  EncodeMark(record.hi, out + kHiOffset);
  StoreBe64(out + kCrcOffset, Crc(Bytes(out, kCrcOffset)));
}

std::optional<PositionFile::Slot> PositionFile::Decode(Bytes bytes) {
  if (bytes.size() < kSlotBytes || AsText(bytes.first(kMagic.size())) != kMagic) return std::nullopt;
  const std::byte* in = bytes.data();
  if (LoadBe64(in + kCrcOffset) != Crc(bytes.first(kCrcOffset))) return std::nullopt;
  Slot slot;
  slot.sequence = LoadBe64(in + 8);
  uint32_t flags = LoadBe32(in + 16);
  slot.record.clean = (flags & kFlagClean) != 0;
  slot.record.bootstrap = (flags & kFlagBootstrap) != 0;
  slot.record.unsynced = (flags & kFlagUnsynced) != 0;
  slot.record.page_size = PageSize(LoadBe32(in + 20));
  std::memcpy(slot.record.boot.data(), in + kBootOffset, slot.record.boot.size());
  slot.record.durable = DecodePosition(in + kDurableOffset);
  slot.record.stamp = {LoadBe64(in + kStampOffset), LoadBe64(in + kStampOffset + 8), LoadBe64(in + kStampOffset + 16)};
  slot.record.lo = DecodeMark(in + kLoOffset);
  slot.record.hi = DecodeMark(in + kHiOffset);
  return slot;
}

Result<std::byte*> PositionFile::Map(const std::string& path) {
  int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) return ErrnoError(errno, path);
  struct stat file {};
  if (::fstat(fd, &file) != 0 || file.st_size != static_cast<off_t>(kFileBytes)) {
    ::close(fd);
    return Error(Errc::kCorrupt, path + ": a position file has 4096 bytes, this one " + std::to_string(file.st_size));
  }
  void* mapped = ::mmap(nullptr, kFileBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  int err = errno;
  ::close(fd);
  if (mapped == MAP_FAILED) return ErrnoError(err, path);
  return static_cast<std::byte*>(mapped);
}

Result<std::unique_ptr<PositionFile>> PositionFile::Open(const std::string& path) {
  TRY_ASSIGN(std::byte * mapped, Map(path));
  std::unique_ptr<PositionFile> file(new PositionFile(path, mapped));  // private constructor
  bool found = false;
  for (size_t offset : kSlotOffsets) {
    std::optional<Slot> slot = Decode(Bytes(mapped + offset, kSlotBytes));
    if (!slot || (found && slot->sequence <= file->sequence_)) continue;
    found = true;
    file->sequence_ = slot->sequence;
    file->record_ = slot->record;
  }
  if (!found) return Error(Errc::kCorrupt, path + ": both slots of the position file are damaged");
  if (!PageSize::IsValid(file->record_.page_size.raw())) {
    return Error(Errc::kCorrupt,
                 path + ": page size " + std::to_string(file->record_.page_size.raw()) + " is impossible");
  }
  return file;
}

Result<std::unique_ptr<PositionFile>> PositionFile::Create(const std::string& path, const PositionRecord& record) {
  std::array<std::byte, kFileBytes> bytes{};
  // Sequence 1 belongs into the slot that Write would choose for it.
  Encode(record, 1, bytes.data() + kSlotOffsets[1]);
  std::string temporary = path + ".new";
  TRY(WriteFile(temporary, bytes));
  if (std::rename(temporary.c_str(), path.c_str()) != 0) return ErrnoError(errno, path);
  return Open(path);
}

PositionFile::~PositionFile() { ::munmap(mapped_, kFileBytes); }

void PositionFile::Write(const PositionRecord& record) {
  std::byte slot[kSlotBytes];
  Encode(record, ++sequence_, slot);
  record_ = record;
  // What is stored before and after must not move across: a killed process leaves exactly the stores that came first.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  std::memcpy(mapped_ + kSlotOffsets[sequence_ % 2], slot, kSlotBytes);
  std::atomic_thread_fence(std::memory_order_seq_cst);
}

Status PositionFile::Sync() {
  if (::msync(mapped_, kFileBytes, MS_SYNC) != 0) return ErrnoError(errno, path_);
  return Ok();
}

}  // namespace runnel::replica
