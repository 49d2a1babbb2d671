#include "subscriber/archive/store/s3_writer.h"

#include <openssl/rand.h>

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "ltx/base/check.h"
#include "subscriber/archive/store/s3_xml.h"

namespace runnel::store {
namespace {

constexpr size_t kPartCountMax = 10000;  // S3's limit
constexpr uint32_t kAbortAttempts = 2;

std::string RandomMark() {
  std::array<std::byte, 16> bytes = {};
  CHECK(RAND_bytes(reinterpret_cast<unsigned char*>(bytes.data()), static_cast<int>(bytes.size())) == 1,
        "no random numbers");
  return ToHex(bytes);
}

}  // namespace

S3Writer::S3Writer(S3Client& client, std::string key, PutOptions options)
    : client_(client), key_(std::move(key)), options_(std::move(options)), mark_(RandomMark()) {}

NameValues S3Writer::ObjectHeaders(bool marked) const {
  NameValues headers;
  if (options_.timestamp.has_value()) headers.emplace_back(kTimestampHeader, FormatTimestamp(*options_.timestamp));
  if (marked) headers.emplace_back(kPutMarkName, mark_);
  return headers;
}

NameValues S3Writer::ConditionHeaders() const {
  switch (options_.condition.kind()) {
    case WriteCondition::Kind::kNone: return {};
    case WriteCondition::Kind::kAbsent: return {{"if-none-match", "*"}};
    case WriteCondition::Kind::kVersion: return {{"if-match", options_.condition.version()}};
  }
  return {};
}

Status S3Writer::Write(Bytes bytes) {
  CHECK(!done_, "write after commit or abort");
  const size_t part_bytes = client_.options().part_bytes;
  while (!bytes.empty()) {
    // A full part goes only when more follows: the last one is sent by Commit, so that an object of one part needs no
    // upload.
    if (part_.size() == part_bytes) TRY(SendPart());
    const Bytes piece = bytes.first(std::min(bytes.size(), part_bytes - part_.size()));
    part_.append(AsText(piece));
    bytes = bytes.subspan(piece.size());
  }
  return Ok();
}

Status S3Writer::StartUpload() {
  const S3Request request{.method = "POST", .key = key_, .query = {{"uploads", ""}}, .headers = ObjectHeaders(true)};
  TRY_ASSIGN(const HttpResponse response, client_.Send(request));
  Result<std::string> id = ParseUploadId(response.body);
  if (!id.ok()) return client_.ErrorOf(request, id.error());
  upload_id_ = *std::move(id);
  return Ok();
}

Status S3Writer::SendPart() {
  if (upload_id_.empty()) TRY(StartUpload());
  if (etags_.size() == kPartCountMax) {
    return Error(Errc::kExhausted, fmt::format("{}: {} needs more than 10000 parts of {} bytes: set larger parts",
                                               client_.location(), key_, client_.options().part_bytes));
  }
  const S3Request request{.method = "PUT",
                          .key = key_,
                          .query = {{"partNumber", std::to_string(etags_.size() + 1)}, {"uploadId", upload_id_}},
                          .body = AsBytes(part_)};
  Result<HttpResponse> response = client_.Send(request);
  // Without the upload (aborted by a lifecycle rule or by hand) there is nothing to go on with: not "no such object".
  if (!response.ok())
    return response.code() == Errc::kNotFound ? response.error().As(Errc::kUnavailable) : response.error();
  std::string etag = response->Header("etag");
  if (etag.empty()) return client_.ErrorOf(request, Error(Errc::kUnavailable, "the answer has no etag"));
  etags_.push_back(std::move(etag));
  part_.clear();
  return Ok();
}

Result<std::string> S3Writer::Commit() {
  CHECK(!done_, "commit after commit or abort");
  Result<std::string> version = upload_id_.empty() ? CommitSmall() : CommitUpload();
  if (!version.ok()) {
    Abort();
    return version.error();
  }
  done_ = true;
  return version;
}

Result<std::string> S3Writer::CommitSmall() {
  const bool conditional = options_.condition.kind() != WriteCondition::Kind::kNone;
  S3Request request{.method = "PUT", .key = key_, .headers = ObjectHeaders(conditional), .body = AsBytes(part_)};
  for (auto& header : ConditionHeaders()) request.headers.push_back(std::move(header));
  Retry retry(client_.options().retry);
  TRY_ASSIGN(const HttpResponse response, client_.Send(request, {404, 412}, retry));
  if (response.status >= 300) {
    Error refusal = client_.ErrorOf(request, response);
    // "If-Match" on a key that is gone is answered by 404.
    if (refusal.code() == Errc::kNotFound && options_.condition.kind() == WriteCondition::Kind::kVersion) {
      refusal = refusal.As(Errc::kConflict);
    }
    return retry.repeated() ? OursOr(refusal) : refusal;
  }
  std::string etag = response.Header("etag");
  if (etag.empty()) return client_.ErrorOf(request, Error(Errc::kUnavailable, "the answer has no etag"));
  return etag;
}

Result<std::string> S3Writer::CommitUpload() {
  if (!part_.empty()) TRY(SendPart());
  const std::string body = RenderComplete(etags_);
  const S3Request request{.method = "POST",
                          .key = key_,
                          .query = {{"uploadId", upload_id_}},
                          .headers = ConditionHeaders(),
                          .body = AsBytes(body)};
  Retry retry(client_.options().retry);
  while (true) {
    TRY_ASSIGN(const HttpResponse response, client_.Send(request, {404, 412}, retry));
    if (response.status >= 300) {
      const Error refusal = client_.ErrorOf(request, response);
      // An upload that is gone was completed by an attempt whose answer we lost, or aborted by somebody.
      if (refusal.code() == Errc::kConflict && !retry.repeated()) return refusal;
      const bool gone = refusal.code() == Errc::kNotFound;
      const bool lost_race = gone && options_.condition.kind() == WriteCondition::Kind::kVersion;
      return OursOr(gone ? refusal.As(lost_race ? Errc::kConflict : Errc::kUnavailable) : refusal);
    }
    Result<std::string> etag = ParseCompleteAnswer(response.body);
    if (etag.ok()) {
      upload_id_.clear();
      return etag;
    }
    TRY(retry.Wait(client_.ErrorOf(request, etag.error())));
  }
}

Result<std::string> S3Writer::OursOr(const Error& refusal) {
  const S3Request head{.method = "HEAD", .key = key_};
  TRY_ASSIGN(const HttpResponse response, client_.Send(head, {404}));
  if (response.status != 200 || response.Header(kPutMarkName) != mark_) return refusal;
  upload_id_.clear();
  return response.Header("etag");
}

void S3Writer::Abort() {
  if (!done_ && !upload_id_.empty()) {
    // Best effort, and no long wait in a destructor: what stays is parts without a name, and the lifecycle rule removes
    // them.
    Retry retry(client_.options().retry, kAbortAttempts);
    static_cast<void>(
        client_.Send({.method = "DELETE", .key = key_, .query = {{"uploadId", upload_id_}}}, {404}, retry));
  }
  done_ = true;
}

}  // namespace runnel::store
