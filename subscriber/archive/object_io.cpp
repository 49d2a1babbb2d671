#include "subscriber/archive/object_io.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace runnel::archive {
namespace {

Error OtherSize(const std::string& key, uint64_t size, uint64_t expected) {
  return Error(Errc::kCorrupt, key + ": " + std::to_string(size) + " bytes instead of " + std::to_string(expected));
}

}  // namespace

ObjectSource::ObjectSource(store::ObjectStore& store, std::string key, uint64_t size, uint64_t whole_bytes)
    : store_(store), key_(std::move(key)), size_(size), whole_bytes_(whole_bytes) {}

ObjectSource::~ObjectSource() { pieces_.Close(); }

Result<size_t> ObjectSource::Read(MutableBytes out) {
  if (!started_) TRY(Start());
  if (used_ == piece_.size()) TRY(Refill());
  const size_t size = std::min(out.size(), piece_.size() - used_);
  if (size != 0) std::memcpy(out.data(), piece_.data() + used_, size);
  used_ += size;
  taken_ += size;
  return size;
}

Status ObjectSource::Start() {
  started_ = true;
  if (size_ <= whole_bytes_) {
    TRY_ASSIGN(piece_, store_.GetAll(key_, size_ + 1));
    if (piece_.size() != size_) return OtherSize(key_, piece_.size(), size_);
    return Ok();
  }
  thread_ = std::jthread([this](std::stop_token stop) { Fetch(std::move(stop)); });
  return Ok();
}

Status ObjectSource::Refill() {
  if (!thread_.joinable()) return Ok();  // it was whole
  Result<std::string> piece = pieces_.Pop(std::stop_token(), NoDeadline());
  used_ = 0;
  if (piece.ok()) {
    piece_ = std::move(*piece);
    return Ok();
  }
  piece_.clear();
  if (std::optional<Error> failed = failed_.Get()) return *failed;
  if (taken_ != size_) return OtherSize(key_, taken_, size_);
  return Ok();
}

void ObjectSource::Fetch(std::stop_token stop) {
  std::string piece;
  auto take = [&](Bytes bytes) -> Status {
    piece.append(AsText(bytes));
    if (piece.size() < kPieceBytes) return Ok();
    return pieces_.Push(std::exchange(piece, std::string()), stop, NoDeadline());
  };
  Result<store::ObjectInfo> got = store_.Get(key_, store::ByteRange::All(), take);
  if (got.ok() && got->size != size_) got = OtherSize(key_, got->size, size_);
  if (got.ok() && !piece.empty()) {
    Status pushed = pieces_.Push(std::move(piece), stop, NoDeadline());
    if (!pushed.ok()) got = pushed.error();
  }
  if (!got.ok()) failed_.Set(got.error());
  pieces_.Close();
}

Status ObjectRandomSource::ReadAt(uint64_t offset, MutableBytes out) {
  TRY_ASSIGN(size_t got, store_.GetAt(key_, offset, out));
  if (got != out.size()) return OtherSize(key_, offset + got, size_);
  return Ok();
}

}  // namespace runnel::archive
