// An object store in an S3 bucket. Small puts are one request; from one part size on a multipart upload, which an abort
// removes (a killed process leaves its parts: give the bucket a lifecycle rule that aborts incomplete uploads).
//
// A put with a condition, and every upload in parts, carries a random mark in its metadata (x-amz-meta-runnel-put):
// when the answer to it was lost and the repeated request is refused, the mark tells whether the object that is there
// is our own.
#pragma once

#include <memory>

#include "subscriber/archive/store/object_store.h"
#include "subscriber/archive/store/s3_client.h"

namespace runnel::store {

// Talks to nobody yet.
std::unique_ptr<ObjectStore> OpenS3Store(S3Options options);

}  // namespace runnel::store
