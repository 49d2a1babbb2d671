#include "subscriber/archive/store/s3_credentials.h"

#include <algorithm>

#include <fmt/format.h>

#include "ltx/base/fs.h"

namespace runnel::store {
namespace {

constexpr uint64_t kFileBytesMax = 1 << 20;

std::string_view Trim(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r";
  const size_t begin = std::min(text.find_first_not_of(kBlanks), text.size());
  text.remove_prefix(begin);
  return text.substr(0, text.find_last_not_of(kBlanks) + 1);
}

}  // namespace

Result<S3Credentials> ParseCredentialsFile(std::string_view text, std::string_view profile) {
  S3Credentials found;
  bool inside = false;
  bool seen = false;
  while (!text.empty()) {
    const std::string_view whole = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(whole.size() + 1, text.size()));
    const std::string_view line = Trim(whole);
    if (line.empty() || line.front() == '#' || line.front() == ';') continue;
    if (line.front() == '[') {
      inside = line.back() == ']' && Trim(line.substr(1, line.size() - 2)) == profile;
      seen = seen || inside;
      continue;
    }
    const size_t equals = line.find('=');
    if (!inside || equals == std::string_view::npos) continue;
    const std::string_view key = Trim(line.substr(0, equals));
    const std::string_view value = Trim(line.substr(equals + 1));
    if (key == "aws_access_key_id") found.access_key_id = value;
    if (key == "aws_secret_access_key") found.secret_access_key = value;
    if (key == "aws_session_token") found.session_token = value;
  }
  if (!seen) return Error(Errc::kNotFound, fmt::format("no section [{}]", profile));
  if (found.access_key_id.empty() || found.secret_access_key.empty()) {
    return Error(Errc::kInvalid, fmt::format("section [{}] lacks aws_access_key_id or aws_secret_access_key", profile));
  }
  return found;
}

Result<S3Credentials> FindS3Credentials(const S3Credentials& configured, const S3Environment& environment) {
  if (!configured.access_key_id.empty() || !configured.secret_access_key.empty()) {
    if (!configured.access_key_id.empty() && !configured.secret_access_key.empty()) return configured;
    return Error(Errc::kInvalid, "s3 credentials: of access key id and secret access key only one is configured");
  }
  if (!environment.access_key_id.empty() && !environment.secret_access_key.empty()) {
    return S3Credentials{environment.access_key_id, environment.secret_access_key, environment.session_token};
  }
  const std::string profile = environment.profile.empty() ? "default" : environment.profile;
  std::string why = "no home directory";
  if (!environment.credentials_file.empty()) {
    const Result<std::string> text = ReadFile(environment.credentials_file, kFileBytesMax);
    Result<S3Credentials> found =
        text.ok() ? ParseCredentialsFile(*text, profile) : Result<S3Credentials>(text.error());
    if (found.ok()) return found;
    why = fmt::format("file {}: {}", environment.credentials_file, found.error().message());
  }
  return Error(Errc::kInvalid,
               fmt::format("no s3 credentials: none are configured, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY "
                           "are not both set, {}",
                           why));
}

}  // namespace runnel::store
