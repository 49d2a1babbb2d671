// The XML of S3's answers. All of it comes from the network: bounded by the HTTP client, parsed without entities of its
// own, and every number and text is checked.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "ltx/base/result.h"
#include "subscriber/archive/store/object_store.h"

namespace runnel::store {

// An <Error> document, or what could be made of an answer that is none (all empty).
struct S3ErrorText {
  std::string code;     // "NoSuchKey"
  std::string message;  // printable and at most 300 bytes
  std::string region;   // of the bucket, when the request went to the wrong one
};
S3ErrorText ParseS3Error(std::string_view body);

// Objects in the order of the answer; `version` is the ETag. Errors of all: kUnavailable, saying what is wrong with the
// answer.
Result<ListPage> ParseListAnswer(std::string_view body);

Result<std::string> ParseUploadId(std::string_view body);

// The ETag of CompleteMultipartUpload, which may fail with an <Error> under status 200. Errors: kUnavailable with the
// code.
Result<std::string> ParseCompleteAnswer(std::string_view body);

// The body of CompleteMultipartUpload: the ETags of parts 1, 2, ...
std::string RenderComplete(const std::vector<std::string>& etags);

}  // namespace runnel::store
