#include "ltx/format/page_table.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <utility>

#include "ltx/base/check.h"
#include "ltx/format/checksum.h"

namespace runnel::ltx {
namespace {

constexpr uint64_t kMagic = 0x31454741504c4e52;  // "RNLPAGE1" in a little-endian file
constexpr uint64_t kVersion = 1;
constexpr size_t kHeadBytes = 4096;
constexpr size_t kGrowthBytes = 64 * 1024;  // the least that is added at a time: 4096 pages

struct Slot {
  uint64_t txid;
  uint64_t checksum;
  uint64_t page_count;
  uint64_t crc;
  uint64_t reserved[4];
};

struct Head {
  uint64_t magic;
  uint64_t version;
  uint64_t reserved;
  uint64_t page_bytes;
  uint64_t active;
  uint64_t reserved2[3];
  std::byte owner[PageTable::kOwnerBytes];
  Slot slots[2];
};
static_assert(offsetof(Head, page_bytes) == 24 && offsetof(Head, active) == 32 && offsetof(Head, owner) == 64 &&
                  offsetof(Head, slots) == 128 && sizeof(Head) == 256,
              "the byte table in the header");

struct Entry {
  uint64_t txid;
  uint64_t checksum;
};
static_assert(sizeof(Entry) == 16, "the byte table in the header");

uint64_t CrcOf(const Slot& slot) {
  Crc64 crc;
  crc.Update({reinterpret_cast<const std::byte*>(&slot), offsetof(Slot, crc)});
  return crc.value();
}

// A kill stops the process between two instructions, and the kernel keeps what was stored: only the compiler could
// change the order of the stores or split one, and this forbids both.
void StoreInOrder(uint64_t& to, uint64_t value) {
  std::atomic_signal_fence(std::memory_order_seq_cst);
  std::atomic_ref<uint64_t>(to).store(value, std::memory_order_relaxed);
  std::atomic_signal_fence(std::memory_order_seq_cst);
}

class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {}
  ~Fd() {
    if (fd_ >= 0) ::close(fd_);
  }
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

class Mapping {
 public:
  Mapping() = default;
  ~Mapping() {
    if (data_ != nullptr) ::munmap(data_, size_);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  Status Map(int fd, size_t offset, size_t size) {
    void* data = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, static_cast<off_t>(offset));
    if (data == MAP_FAILED) return ErrnoError(errno, "map page table");
    data_ = data;
    size_ = size;
    return Ok();
  }
  Status Grow(size_t size) {
    void* data = ::mremap(data_, size_, size, MREMAP_MAYMOVE);
    if (data == MAP_FAILED) return ErrnoError(errno, "map page table");
    data_ = data;
    size_ = size;
    return Ok();
  }
  Status Sync() const {
    return ::msync(data_, size_, MS_SYNC) == 0 ? Ok() : Status(ErrnoError(errno, "sync page table"));
  }
  void* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  void* data_ = nullptr;
  size_t size_ = 0;
};

// Blocks for the whole range, so that a store into the mapping cannot meet a full disk.
Status Allocate(int fd, size_t offset, size_t size) {
  int err;
  do {
    err = ::posix_fallocate(fd, static_cast<off_t>(offset), static_cast<off_t>(size));
  } while (err == EINTR);
  return err == 0 ? Ok() : Status(ErrnoError(err, "allocate page table"));
}

Status SyncFolderOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, std::max<size_t>(slash, 1));
  Fd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd.get() < 0 || ::fsync(fd.get()) != 0) return ErrnoError(errno, "sync " + folder);
  return Ok();
}

}  // namespace

struct PageTable::Impl {
  explicit Impl(std::string table_path, int descriptor) : path(std::move(table_path)), fd(descriptor) {}

  Status MapFile(size_t file_bytes) {
    TRY(Allocate(fd.get(), 0, file_bytes));
    TRY(head_mapping.Map(fd.get(), 0, kHeadBytes));
    TRY(entry_mapping.Map(fd.get(), kHeadBytes, file_bytes - kHeadBytes));
    head = static_cast<Head*>(head_mapping.data());
    SetEntries();
    return Ok();
  }
  void SetEntries() {
    entries = static_cast<Entry*>(entry_mapping.data());
    capacity = entry_mapping.size() / sizeof(Entry);
  }
  const Slot& active() const { return head->slots[head->active & 1]; }
  Status CheckHead() const;
  void FindLastPresent() {
    last_present = capacity;
    while (last_present > 0 && entries[last_present - 1].checksum == 0) --last_present;
  }

  const std::string path;
  const Fd fd;
  Mapping head_mapping;
  Mapping entry_mapping;  // of its own, because it moves
  Head* head = nullptr;
  Entry* entries = nullptr;
  uint64_t capacity = 0;      // entries there is room for
  uint64_t last_present = 0;  // no page beyond it has a checksum
  bool named_durably = true;  // false from Create to the first Sync
};

Status PageTable::Impl::CheckHead() const {
  auto corrupt = [this](std::string what) { return Error(Errc::kCorrupt, path + ": " + std::move(what)); };
  if (head->magic != kMagic) return corrupt("not a page table of this machine");
  if (head->version != kVersion) return corrupt("page table of version " + std::to_string(head->version));
  if (head->page_bytes > UINT32_MAX || !PageSize::IsValid(static_cast<uint32_t>(head->page_bytes))) {
    return corrupt("page size " + std::to_string(head->page_bytes));
  }
  if (head->active > 1 || active().crc != CrcOf(active())) return corrupt("damaged position");
  if (active().page_count > kPgnoMax || active().page_count > capacity) {
    return corrupt("room for " + std::to_string(capacity) + " of " + std::to_string(active().page_count) + " pages");
  }
  return Ok();
}

PageTable::PageTable(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
PageTable::~PageTable() = default;

Result<std::unique_ptr<PageTable>> PageTable::Open(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) return ErrnoError(errno, path);
  auto impl = std::make_unique<Impl>(path, fd);
  struct stat st {};
  if (::fstat(fd, &st) != 0) return ErrnoError(errno, path);
  const auto file_bytes = static_cast<size_t>(st.st_size);
  if (!S_ISREG(st.st_mode) || file_bytes < kHeadBytes + sizeof(Entry)) {
    return Error(Errc::kCorrupt, path + ": too short for a page table");
  }
  TRY(impl->MapFile(file_bytes));
  TRY(impl->CheckHead());
  impl->FindLastPresent();
  return std::make_unique<PageTable>(std::move(impl));
}

Result<std::unique_ptr<PageTable>> PageTable::Create(const std::string& path, PageSize page_size) {
  CHECK(PageSize::IsValid(page_size.raw()), "a page size");
  const std::string draft = path + ".new";
  const int fd = ::open(draft.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return ErrnoError(errno, draft);
  auto impl = std::make_unique<Impl>(path, fd);
  Status made = impl->MapFile(kHeadBytes + kGrowthBytes);
  if (made.ok()) {
    impl->head->magic = kMagic;
    impl->head->version = kVersion;
    impl->head->page_bytes = page_size.raw();
    impl->head->slots[0].crc = CrcOf(impl->head->slots[0]);
    impl->named_durably = false;
    made = impl->head_mapping.Sync();
  }
  if (made.ok() && ::rename(draft.c_str(), path.c_str()) != 0) made = ErrnoError(errno, "rename " + draft);
  if (!made.ok()) {
    ::unlink(draft.c_str());
    return made.error().With(path);
  }
  return std::make_unique<PageTable>(std::move(impl));
}

PageSize PageTable::page_size() const { return PageSize(static_cast<uint32_t>(impl_->head->page_bytes)); }
uint32_t PageTable::page_count() const { return static_cast<uint32_t>(impl_->active().page_count); }
Position PageTable::position() const { return {Txid(impl_->active().txid), Checksum(impl_->active().checksum)}; }

PageEntry PageTable::Get(Pgno pgno) const {
  if (pgno == Pgno() || pgno.raw() > impl_->capacity) return {};
  const Entry& entry = impl_->entries[pgno.raw() - 1];
  return {Checksum(entry.checksum), Txid(entry.txid)};
}

Status PageTable::Reserve(Pgno pgno) {
  Impl& impl = *impl_;
  if (pgno.raw() <= impl.capacity) return Ok();
  const size_t old_bytes = impl.entry_mapping.size();
  size_t bytes = std::max(pgno.raw() * sizeof(Entry), old_bytes + old_bytes / 4);
  bytes = (bytes + kGrowthBytes - 1) / kGrowthBytes * kGrowthBytes;
  if (Status allocated = Allocate(impl.fd.get(), kHeadBytes + old_bytes, bytes - old_bytes); !allocated.ok()) {
    // What was added may have holes, and must not be found by the next Open.
    if (::ftruncate(impl.fd.get(), static_cast<off_t>(kHeadBytes + old_bytes)) != 0) {
      return ErrnoError(errno, impl.path);
    }
    return allocated.error().With(impl.path);
  }
  TRY(impl.entry_mapping.Grow(bytes));
  impl.SetEntries();
  return Ok();
}

void PageTable::Set(Pgno pgno, Checksum checksum, Txid txid) {
  CHECK(pgno != Pgno() && pgno.raw() <= impl_->capacity, "reserved before");
  if (pgno == LockPage(page_size())) return;
  Entry& entry = impl_->entries[pgno.raw() - 1];
  StoreInOrder(entry.txid, txid.raw());
  StoreInOrder(entry.checksum, checksum.raw());
  impl_->last_present = std::max<uint64_t>(impl_->last_present, pgno.raw());
}

void PageTable::Truncate(uint32_t page_count, Txid txid) {
  for (uint64_t i = page_count; i < impl_->last_present; ++i) {
    Entry& entry = impl_->entries[i];
    if (entry.checksum == 0) continue;  // gone already, and its TXID says when
    StoreInOrder(entry.txid, txid.raw());
    StoreInOrder(entry.checksum, 0);
  }
  impl_->last_present = std::min<uint64_t>(impl_->last_present, page_count);
}

void PageTable::SetPosition(const Position& position, uint32_t page_count) {
  CHECK(page_count <= impl_->capacity, "reserved before");
  const uint64_t next = (impl_->head->active & 1) ^ 1;
  Slot& slot = impl_->head->slots[next];
  slot.txid = position.txid.raw();
  slot.checksum = position.checksum.raw();
  slot.page_count = page_count;
  slot.crc = CrcOf(slot);
  StoreInOrder(impl_->head->active, next);
}

Checksum PageTable::Sum() const {
  const Entry* entry = impl_->entries;
  const Entry* const end = entry + page_count();
  // Four sums, so that the loads do not wait for each other.
  uint64_t sums[4] = {};
  for (; end - entry >= 4; entry += 4) {
    for (size_t i = 0; i < 4; ++i) sums[i] ^= entry[i].checksum;
  }
  for (; entry != end; ++entry) sums[0] ^= entry->checksum;
  return Checksum(Checksum::kFlag | (sums[0] ^ sums[1] ^ sums[2] ^ sums[3]));
}

MutableBytes PageTable::owner() { return impl_->head->owner; }

Status PageTable::Sync() {
  TRY(impl_->entry_mapping.Sync());
  TRY(impl_->head_mapping.Sync());
  if (!impl_->named_durably) {
    TRY(SyncFolderOf(impl_->path));
    impl_->named_durably = true;
  }
  return Ok();
}

}  // namespace runnel::ltx
