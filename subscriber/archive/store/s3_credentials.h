// Where S3 keys come from, in this order: the options, the environment, the shared credentials file.
#pragma once

#include <string>
#include <string_view>

#include "ltx/base/result.h"
#include "subscriber/archive/store/s3_sign.h"

namespace runnel::store {

// The environment variables that matter, read once by OpenStore so that everything below is free of global state.
struct S3Environment {
  std::string access_key_id;      // AWS_ACCESS_KEY_ID
  std::string secret_access_key;  // AWS_SECRET_ACCESS_KEY
  std::string session_token;      // AWS_SESSION_TOKEN
  std::string region;             // AWS_REGION, else AWS_DEFAULT_REGION
  std::string profile;            // AWS_PROFILE
  std::string credentials_file;   // AWS_SHARED_CREDENTIALS_FILE, else ~/.aws/credentials
};

// `configured` wins if it has a key id. Errors: kInvalid, naming every place that was looked at.
Result<S3Credentials> FindS3Credentials(const S3Credentials& configured, const S3Environment& environment);

// The section [profile] of an INI file with aws_access_key_id, aws_secret_access_key, aws_session_token. Errors:
// kNotFound (no such section), kInvalid (a key is missing).
Result<S3Credentials> ParseCredentialsFile(std::string_view text, std::string_view profile);

}  // namespace runnel::store
