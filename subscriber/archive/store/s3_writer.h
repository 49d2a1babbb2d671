// One object on its way into a bucket; see s3_store.h.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "subscriber/archive/store/object_store.h"
#include "subscriber/archive/store/s3_client.h"

namespace runnel::store {

inline constexpr const char* kPutMarkName = "x-amz-meta-runnel-put";
inline const std::string kTimestampHeader = std::string("x-amz-meta-") + kTimestampName;

class S3Writer : public ObjectWriter {
 public:
  S3Writer(S3Client& client, std::string key, PutOptions options);
  ~S3Writer() override { Abort(); }

  Status Write(Bytes bytes) override;
  Result<std::string> Commit() override;
  void Abort() override;

 private:
  Status StartUpload();
  Status SendPart();
  Result<std::string> CommitSmall();
  Result<std::string> CommitUpload();
  NameValues ObjectHeaders(bool marked) const;  // metadata
  NameValues ConditionHeaders() const;          // If-None-Match, If-Match
  // After a refusal: the version of the object if it carries our mark, else `refusal`.
  Result<std::string> OursOr(const Error& refusal);

  S3Client& client_;
  const std::string key_;
  const PutOptions options_;
  const std::string mark_;
  std::string part_;                // bytes not sent yet, at most one part
  std::string upload_id_;           // empty: no multipart upload is open
  std::vector<std::string> etags_;  // of the parts sent
  bool done_ = false;
};

}  // namespace runnel::store
