#include "subscriber/archive/store/nats_get.h"

#include <algorithm>

#include <fmt/format.h>

namespace runnel::store {

using bus::nats::Session;

namespace {

// Up to here it costs less to read and drop bytes than to ask for the sizes of the chunks first.
constexpr uint64_t kDropBytesMax = 1 << 20;
constexpr uint32_t kHeaderBatch = 2048;
constexpr uint32_t kBatchMax = 512;

}  // namespace

Result<ObjectInfo> NatsGet::Run() {
  Retry retry(sessions_.options().retry);
  const Status done = sessions_.Run(retry, [&](Session& session) -> Status {
    const Status attempt = Attempt(session, retry);
    return failed_.ok() ? attempt : Ok();
  });
  if (!failed_.ok()) return failed_.error();
  if (!done.ok()) return done.error();
  TRY(Verify());
  return InfoOf(object_);
}

Status NatsGet::Attempt(Session& session, Retry& retry) {
  if (!found_) {
    TRY_ASSIGN(std::optional<NatsObject> object, FindObject(session, sessions_.bucket(), key_));
    if (!object.has_value() || object->deleted) {
      return Error(Errc::kNotFound, fmt::format("bucket {}: there is no {}", sessions_.bucket().name, key_));
    }
    if (object->link) {
      return Error(Errc::kUnsupported,
                   fmt::format("bucket {}: {} is a link to another object", sessions_.bucket().name, key_));
    }
    object_ = *std::move(object);
    span_ = range_.Within(object_.size);
    found_ = true;
  }
  if (span_.size() == 0) return Ok();
  if (!skipped_) TRY(SkipToBegin(session));
  return ReadChunks(session, retry);
}

Status NatsGet::SkipToBegin(Session& session) {
  if (span_.begin > kDropBytesMax) {
    const BucketReader::From from{.subject = sessions_.bucket().ChunkSubject(object_.nuid), .headers_only = true};
    TRY_ASSIGN(const std::unique_ptr<BucketReader> reader,
               BucketReader::Open(session, sessions_.bucket(), from, sessions_.options().retry.stop));
    uint64_t at = 0;
    while (true) {
      TRY_ASSIGN(const std::optional<BucketReader::Item> item, reader->Next(kHeaderBatch));
      if (!item.has_value()) return Incomplete(session);
      next_seq_ = item->seq;
      if (item->size > span_.begin - at) break;
      at += item->size;
    }
    at_ = at;
  }
  skipped_ = true;
  return Ok();
}

uint32_t NatsGet::BatchMax() const {
  const uint64_t chunk_bytes = std::max<uint64_t>(object_.chunk_bytes_max, 1024);
  const uint64_t bounded = std::clamp<uint64_t>(sessions_.options().inflight_bytes_max / chunk_bytes, 1, kBatchMax);
  // None beyond the range: what is still under way at its end costs the connection (~BucketReader).
  const uint64_t wanted = (span_.end - at_ + chunk_bytes - 1) / chunk_bytes;
  return static_cast<uint32_t>(std::min(bounded, wanted));
}

Status NatsGet::ReadChunks(Session& session, Retry& retry) {
  const BucketReader::From from{.subject = sessions_.bucket().ChunkSubject(object_.nuid), .seq = next_seq_};
  TRY_ASSIGN(const std::unique_ptr<BucketReader> reader,
             BucketReader::Open(session, sessions_.bucket(), from, sessions_.options().retry.stop));
  while (at_ < span_.end) {
    TRY_ASSIGN(const std::optional<BucketReader::Item> item, reader->Next(BatchMax()));
    if (!item.has_value()) return Incomplete(session);
    TRY(TakeChunk(item->bytes()));
    next_seq_ = item->seq + 1;
    retry.Reset();
  }
  return Ok();
}

Status NatsGet::TakeChunk(Bytes chunk) {
  if (chunk.size() > object_.size - at_) {
    return Error(Errc::kCorrupt, fmt::format("bucket {}: {} has more bytes than the {} of its description",
                                             sessions_.bucket().name, key_, object_.size));
  }
  const uint64_t begin = std::max(at_, span_.begin);
  const uint64_t end = std::min(at_ + chunk.size(), span_.end);
  const Bytes wanted = begin < end ? chunk.subspan(begin - at_, end - begin) : Bytes();
  at_ += chunk.size();
  ++chunk_count_;
  if (range_.whole()) digest_.Add(chunk);
  if (wanted.empty()) return Ok();
  failed_ = sink_(wanted);
  return failed_;
}

Status NatsGet::Verify() {
  if (!range_.whole()) return Ok();
  const std::string sha256 = digest_.Finish();
  const std::string digest = DigestText(AsBytes(sha256));
  // Some writers leave the padding out.
  const auto bare = [](std::string_view text) { return text.substr(0, text.find_last_not_of('=') + 1); };
  if (!object_.digest.starts_with("SHA-256=") || bare(digest) == bare(object_.digest)) return Ok();
  return Error(Errc::kCorrupt, fmt::format("bucket {}: {} has digest {}, expected {}", sessions_.bucket().name, key_,
                                           digest, object_.digest));
}

Status NatsGet::Incomplete(Session& session) {
  const std::string what = fmt::format("bucket {}: {}", sessions_.bucket().name, key_);
  const Result<std::optional<NatsObject>> now = FindObject(session, sessions_.bucket(), key_);
  if (!now.ok()) return now.code() == Errc::kNotFound ? now.error().As(Errc::kUnavailable) : now.error();
  if (!now->has_value() || (*now)->nuid != object_.nuid) {
    // Not to be repeated: the caller has a part of the old one.
    failed_ = Error(Errc::kUnavailable, what + ": the object was replaced while it was read");
    return failed_;
  }
  return Error(Errc::kCorrupt, fmt::format("{}: its chunks end at byte {} of {}", what, at_, object_.size));
}

}  // namespace runnel::store
