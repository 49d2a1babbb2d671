#include "subscriber/archive/store/s3_store.h"

#include <algorithm>
#include <atomic>

#include <fmt/format.h>

#include "subscriber/archive/store/s3_get.h"
#include "subscriber/archive/store/s3_writer.h"
#include "subscriber/archive/store/s3_xml.h"

namespace runnel::store {
namespace {

class S3Store : public ObjectStore {
 public:
  explicit S3Store(S3Options options) : client_(std::move(options)) {}

  const std::string& location() const override { return client_.location(); }

  Result<std::unique_ptr<ObjectWriter>> StartPut(const std::string& key, const PutOptions& options) override {
    TRY(CheckS3Key(key));
    return std::unique_ptr<ObjectWriter>(std::make_unique<S3Writer>(client_, key, options));
  }

  Result<ObjectInfo> Get(const std::string& key, const ByteRange& range, const ByteSink& sink) override {
    TRY(CheckS3Key(key));
    if (range.size() == 0) return Head(key);
    TRY_ASSIGN(std::optional<ObjectInfo> info, S3Get(client_, key, range, sink).Run());
    if (!info.has_value()) return Head(key);
    bucket_seen_ = true;
    return *std::move(info);
  }

  Result<ObjectInfo> Head(const std::string& key) override {
    TRY(CheckS3Key(key));
    const S3Request request{.method = "HEAD", .key = key};
    TRY_ASSIGN(const HttpResponse response, client_.Send(request, {301, 307, 400, 403, 404}));
    if (response.status == 200) {
      bucket_seen_ = true;
      const Result<ObjectInfo> info = ObjectInfoOf(key, response);
      if (!info.ok()) return client_.ErrorOf(request, info.error());
      return *info;
    }
    if (response.status == 404 && bucket_seen_) return client_.ErrorOf(request, response);
    return Explain(request, response);
  }

  Result<ListPage> List(const ListOptions& options) override {
    ListPage page;
    std::string after = options.start_after;
    do {
      TRY_ASSIGN(page, ListOnce(options, after));
      if (!page.objects.empty()) after = page.objects.back().key;
      // "folder/" objects are made by tools that imitate folders; they are no keys of ours.
      std::erase_if(page.objects, [](const ObjectInfo& object) { return object.key.ends_with('/'); });
    } while (page.objects.empty() && page.more);
    return page;
  }

  Status Delete(const std::string& key) override {
    TRY(CheckS3Key(key));
    const S3Request request{.method = "DELETE", .key = key};
    TRY_ASSIGN(const HttpResponse response, client_.Send(request, {404}));
    if (response.status != 404) return Ok();
    const Error error = client_.ErrorOf(request, response);
    return error.code() == Errc::kNotFound ? Ok() : Status(error);
  }

 private:
  static Status CheckS3Key(std::string_view key) {
    // The prefix "." is how Litestream writes s3://bucket without a path: keys "./0000/...".
    if (key.starts_with("./")) key.remove_prefix(2);
    return CheckKey(key);
  }

  // An answer to HEAD has no body and so no code: a small GET tells why it was refused.
  Result<ObjectInfo> Explain(const S3Request& head, const HttpResponse& refused) {
    const S3Request request{.method = "GET", .key = head.key, .headers = {{"range", "bytes=0-0"}}};
    TRY_ASSIGN(const HttpResponse response, client_.Send(request, {416}));
    return client_.ErrorOf(head, refused).As(Errc::kUnavailable);  // it appeared meanwhile
  }

  Result<ListPage> ListOnce(const ListOptions& options, const std::string& after) {
    const std::string count = std::to_string(std::clamp<size_t>(options.count_max, 1, 1000));
    S3Request request{
        .method = "GET",
        .key = "",
        .query = {{"list-type", "2"}, {"prefix", options.prefix}, {"max-keys", count}, {"encoding-type", "url"}}};
    if (!after.empty()) request.query.emplace_back("start-after", after);
    TRY_ASSIGN(const HttpResponse response, client_.Send(request));
    bucket_seen_ = true;
    Result<ListPage> page = ParseListAnswer(response.body);
    if (!page.ok()) return client_.ErrorOf(request, page.error());
    for (const ObjectInfo& object : page->objects) {
      if (object.key.starts_with(options.prefix) && object.key > after) continue;
      return client_.ErrorOf(
          request, Error(Errc::kUnsupported, "the server lists keys that were not asked for (start-after, prefix)"));
    }
    return page;
  }

  S3Client client_;
  std::atomic<bool> bucket_seen_{false};
};

}  // namespace

std::unique_ptr<ObjectStore> OpenS3Store(S3Options options) { return std::make_unique<S3Store>(std::move(options)); }

}  // namespace runnel::store
