// Objects of a store as the streams that the LTX codec reads and writes.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>

#include "ltx/base/bytes.h"
#include "ltx/base/result.h"
#include "ltx/base/sync.h"
#include "ltx/format/decoder.h"
#include "ltx/format/encoder.h"
#include "ltx/format/index_reader.h"
#include "subscriber/archive/store/object_store.h"

namespace runnel::archive {

// An object of a known size, read from its beginning. Small ones are fetched whole by the first read, so that nothing
// stays open while a merge of many takes its time; larger ones by a thread that stays a few pieces ahead.
// Errors: the store's; kCorrupt when there are fewer or more bytes than the size says. The store must outlive it.
class ObjectSource : public ltx::ByteSource {
 public:
  // An object up to `whole_bytes` is fetched whole.
  ObjectSource(store::ObjectStore& store, std::string key, uint64_t size, uint64_t whole_bytes);
  ~ObjectSource() override;
  Result<size_t> Read(MutableBytes out) override;

 private:
  Status Start();
  Status Refill();
  void Fetch(std::stop_token stop);

  static constexpr size_t kPieceBytes = 256 << 10;
  static constexpr size_t kPiecesMax = 4;

  store::ObjectStore& store_;
  const std::string key_;
  const uint64_t size_;
  const uint64_t whole_bytes_;
  std::string piece_;
  size_t used_ = 0;
  uint64_t taken_ = 0;
  bool started_ = false;
  BoundedQueue<std::string> pieces_{kPiecesMax};
  Latest<std::optional<Error>> failed_;
  std::jthread thread_;  // last: it uses what is above
};

// An object read anywhere, each read a request of its own.
class ObjectRandomSource : public ltx::RandomSource {
 public:
  ObjectRandomSource(store::ObjectStore& store, std::string key, uint64_t size)
      : store_(store), key_(std::move(key)), size_(size) {}
  uint64_t size() const override { return size_; }
  Status ReadAt(uint64_t offset, MutableBytes out) override;

 private:
  store::ObjectStore& store_;
  const std::string key_;
  const uint64_t size_;
};

class ObjectSink : public ltx::ByteSink {
 public:
  explicit ObjectSink(store::ObjectWriter& writer) : writer_(writer) {}
  Status Write(Bytes bytes) override { return writer_.Write(bytes); }

 private:
  store::ObjectWriter& writer_;
};

}  // namespace runnel::archive
