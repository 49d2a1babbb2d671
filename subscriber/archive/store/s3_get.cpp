#include "subscriber/archive/store/s3_get.h"

#include <time.h>

#include <algorithm>
#include <charconv>

#include <curl/curl.h>
#include <fmt/format.h>

#include "subscriber/archive/store/s3_writer.h"

namespace runnel::store {
namespace {

std::optional<uint64_t> ParseNumber(std::string_view text) {
  uint64_t value = 0;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || failed != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

struct ContentRange {
  uint64_t begin = 0;
  uint64_t object_size = 0;
};
// "bytes 10-19/300"
std::optional<ContentRange> ParseContentRange(std::string_view text) {
  constexpr std::string_view kUnit = "bytes ";
  const size_t dash = text.find('-');
  const size_t slash = text.find('/');
  if (!text.starts_with(kUnit) || dash == std::string_view::npos || slash == std::string_view::npos)
    return std::nullopt;
  const std::optional<uint64_t> begin = ParseNumber(text.substr(kUnit.size(), dash - kUnit.size()));
  const std::optional<uint64_t> size = ParseNumber(text.substr(slash + 1));
  if (!begin.has_value() || !size.has_value() || *begin > *size) return std::nullopt;
  return ContentRange{*begin, *size};
}

}  // namespace

Result<ObjectInfo> ObjectInfoOf(const std::string& key, const HttpResponse& response) {
  ObjectInfo info;
  info.key = key;
  const std::optional<ContentRange> range = ParseContentRange(response.Header("content-range"));
  const std::optional<uint64_t> length = ParseNumber(response.Header("content-length"));
  if (response.status == 206 ? !range.has_value() : !length.has_value()) {
    return Error(Errc::kUnavailable, "the answer does not say how large the object is");
  }
  info.size = response.status == 206 ? range->object_size : *length;
  info.version = response.Header("etag");
  const time_t modified = curl_getdate(response.Header("last-modified").c_str(), nullptr);
  info.modified = WallTime(std::chrono::seconds(std::max<time_t>(0, modified)));
  info.timestamp = ParseTimestamp(response.Header(kTimestampHeader));
  return info;
}

NameValues S3Get::Headers() const {
  if (info_.has_value()) {
    return {{"range", fmt::format("bytes={}-{}", next_, span_.end - 1)}, {"if-match", info_->version}};
  }
  if (range_.whole()) return {};
  if (range_.from_end()) return {{"range", fmt::format("bytes=-{}", range_.size())}};
  const uint64_t size_max = ByteRange::kToEnd - range_.offset();
  if (range_.size() >= size_max) return {{"range", fmt::format("bytes={}-", range_.offset())}};
  return {{"range", fmt::format("bytes={}-{}", range_.offset(), range_.offset() + range_.size() - 1)}};
}

Status S3Get::Begin(const HttpResponse& head) {
  begun_ = true;
  at_ = head.status == 206 ? ParseContentRange(head.Header("content-range")).value_or(ContentRange()).begin : 0;
  TRY_ASSIGN(ObjectInfo info, ObjectInfoOf(key_, head));
  if (!info_.has_value()) {
    span_ = range_.Within(info.size);
    next_ = span_.begin;
    info_ = std::move(info);
  } else if (info.version != info_->version || info.size != info_->size) {
    return Error(Errc::kUnavailable, "the object was replaced while it was read");
  }
  if (at_ > next_)
    return Error(Errc::kUnavailable, fmt::format("the answer begins at byte {}, expected {}", at_, next_));
  return Ok();
}

// A server may send more than was asked for (all of the object): only the range goes on.
Status S3Get::Take(const HttpResponse& head, Bytes piece) {
  if (!begun_) TRY(Begin(head));
  const uint64_t skip = std::min<uint64_t>(next_ - std::min(at_, next_), piece.size());
  at_ += piece.size();
  piece = piece.subspan(skip);
  piece = piece.first(std::min<uint64_t>(piece.size(), span_.end - next_));
  if (piece.empty()) return Ok();
  next_ += piece.size();
  return sink_(piece);
}

Result<std::optional<ObjectInfo>> S3Get::Run() {
  Retry retry(client_.options().retry);
  while (true) {
    S3Request request{.method = "GET", .key = key_, .headers = Headers()};
    request.sink = [this](const HttpResponse& head, Bytes piece) {
      failed_ = Take(head, piece);
      return failed_;
    };
    const uint64_t before = next_;
    begun_ = false;
    const Result<HttpResponse> response = client_.Once(request);
    if (!failed_.ok()) return failed_.error();
    Error error(Errc::kUnavailable, "");
    if (!response.ok()) {
      error = client_.ErrorOf(request, response.error());
      if (error.code() != Errc::kUnavailable) return error;
    } else if (response->status == 200 || response->status == 206) {
      // An empty object has no piece.
      const Status begun = begun_ ? Ok() : Begin(*response);
      if (!begun.ok()) return client_.ErrorOf(request, begun.error());
      if (complete()) return info_;
      error =
          client_.ErrorOf(request, Error(Errc::kUnavailable, fmt::format("cut at byte {} of {}", next_, span_.end)));
    } else if (response->status == 416 && !info_.has_value()) {
      return std::optional<ObjectInfo>();
    } else {
      error = client_.ErrorOf(request, *response);
      if (info_.has_value() && (response->status == 412 || response->status == 404)) {
        return error.As(Errc::kUnavailable).With("the object was replaced while it was read");
      }
      if (!S3Client::IsTransient(*response)) return error;
    }
    if (next_ > before) retry.Reset();
    if (complete()) return info_;  // cut behind the last byte
    TRY(retry.Wait(error));
  }
}

}  // namespace runnel::store
