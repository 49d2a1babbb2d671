// One Get from a bucket: asks for the range, hands out its bytes, and after a cut asks for the rest of the same
// version.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "subscriber/archive/store/object_store.h"
#include "subscriber/archive/store/s3_client.h"

namespace runnel::store {

// Key, size, version, times from the headers of a HEAD or GET. Errors: kUnavailable (a header is missing or no number).
Result<ObjectInfo> ObjectInfoOf(const std::string& key, const HttpResponse& response);

class S3Get {
 public:
  S3Get(S3Client& client, const std::string& key, const ByteRange& range, const ByteSink& sink)
      : client_(client), key_(key), range_(range), sink_(sink) {}

  // nullopt: the range lies wholly past the end (status 416), nothing was handed out. Errors: as ObjectStore::Get.
  Result<std::optional<ObjectInfo>> Run();

 private:
  NameValues Headers() const;
  // Reads the head of an answer: where its body begins in the object.
  Status Begin(const HttpResponse& head);
  Status Take(const HttpResponse& head, Bytes piece);
  bool complete() const { return info_.has_value() && next_ == span_.end; }

  S3Client& client_;
  const std::string& key_;
  const ByteRange& range_;
  const ByteSink& sink_;
  std::optional<ObjectInfo> info_;  // set by the first answer
  ByteRange::Span span_;            // of the object, known from then on
  uint64_t next_ = 0;               // the byte to hand out next
  bool begun_ = false;              // this attempt's head was read
  uint64_t at_ = 0;                 // where the next received byte lies in the object
  Status failed_ = Ok();            // the sink's own error, or an answer that makes no sense
};

}  // namespace runnel::store
