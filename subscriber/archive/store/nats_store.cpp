#include "subscriber/archive/store/nats_store.h"

#include <algorithm>
#include <optional>

#include <fmt/format.h>

#include "subscriber/archive/store/nats_get.h"
#include "subscriber/archive/store/nats_sessions.h"
#include "subscriber/archive/store/nats_writer.h"

namespace runnel::store {

using bus::nats::Session;

namespace {

constexpr uint32_t kListBatch = 512;

class NatsStore : public ObjectStore {
 public:
  explicit NatsStore(NatsStoreOptions options)
      : sessions_(std::move(options)),
        location_(fmt::format("nats://{}/{}", sessions_.options().endpoint.Text(), sessions_.bucket().name)) {}

  const std::string& location() const override { return location_; }

  Result<std::unique_ptr<ObjectWriter>> StartPut(const std::string& key, const PutOptions& options) override {
    TRY(CheckKey(key));
    TRY_ASSIGN(std::unique_ptr<NatsWriter> writer, NatsWriter::Start(sessions_, key, options));
    return std::unique_ptr<ObjectWriter>(std::move(writer));
  }

  Result<ObjectInfo> Get(const std::string& key, const ByteRange& range, const ByteSink& sink) override {
    TRY(CheckKey(key));
    return NatsGet(sessions_, key, range, sink).Run();
  }

  Result<ObjectInfo> Head(const std::string& key) override {
    TRY(CheckKey(key));
    Retry retry(sessions_.options().retry);
    TRY_ASSIGN(const std::optional<NatsObject> object,
               sessions_.Run(retry, [&](Session& session) { return FindObject(session, sessions_.bucket(), key); }));
    if (object.has_value() && !object->deleted) return InfoOf(*object);
    return Error(Errc::kNotFound, fmt::format("bucket {}: there is no {}", sessions_.bucket().name, key));
  }

  Result<ListPage> List(const ListOptions& options) override;
  Status Delete(const std::string& key) override;

 private:
  // All objects, in the order of their keys. The stream can only be asked for all of them, in another order, so what it
  // said is kept for the next page of the same listing, as long as the stream has not changed.
  struct Listing {
    BucketState state;
    std::vector<ObjectInfo> objects;
  };
  Result<Listing> ReadAll(Session& session, const BucketState& state);
  Result<Listing> CurrentListing(Session& session);
  Status DeleteOnce(Session& session, const std::string& key, std::string& nuid);

  NatsSessions sessions_;
  const std::string location_;
  Mutex mutex_;
  std::optional<Listing> kept_ GUARDED_BY(mutex_);
};

Result<NatsStore::Listing> NatsStore::ReadAll(Session& session, const BucketState& state) {
  Listing listing;
  listing.state = state;
  const BucketReader::From from{.subject = sessions_.bucket().AllMetaSubjects(), .newest_only = true};
  TRY_ASSIGN(const std::unique_ptr<BucketReader> reader,
             BucketReader::Open(session, sessions_.bucket(), from, sessions_.options().retry.stop));
  while (true) {
    TRY_ASSIGN(const std::optional<BucketReader::Item> item, reader->Next(kListBatch));
    if (!item.has_value()) break;
    const std::optional<NatsObject> object = ParseNatsObject(AsText(item->bytes()), item->seq, item->stored_at);
    // What is no description, or of no key of ours, is not for us.
    if (!object.has_value() || object->deleted || object->link || !CheckKey(object->key).ok()) continue;
    listing.objects.push_back(InfoOf(*object));
  }
  std::ranges::sort(listing.objects, {}, &ObjectInfo::key);
  return listing;
}

Result<NatsStore::Listing> NatsStore::CurrentListing(Session& session) {
  TRY_ASSIGN(const BucketState state, GetState(session, sessions_.bucket()));
  {
    MutexLock lock(mutex_);
    if (kept_.has_value() && kept_->state == state) {
      Listing listing = *std::move(kept_);
      kept_.reset();
      return listing;
    }
  }
  return ReadAll(session, state);
}

Result<ListPage> NatsStore::List(const ListOptions& options) {
  Retry retry(sessions_.options().retry);
  Result<Listing> listing = sessions_.Run(retry, [&](Session& session) { return CurrentListing(session); });
  if (!listing.ok() && listing.code() == Errc::kNotFound) return ListPage();  // no bucket yet
  if (!listing.ok()) return listing.error();
  const size_t count_max = std::clamp<size_t>(options.count_max, 1, 1000);
  ListPage page;
  auto object = std::ranges::lower_bound(listing->objects, options.prefix, {}, &ObjectInfo::key);
  const auto behind = std::ranges::upper_bound(listing->objects, options.start_after, {}, &ObjectInfo::key);
  for (object = std::max(object, behind); object != listing->objects.end(); ++object) {
    if (!object->key.starts_with(options.prefix)) break;
    page.more = page.objects.size() == count_max;
    if (page.more) break;
    page.objects.push_back(*object);
  }
  if (page.more) {
    MutexLock lock(mutex_);
    kept_ = *std::move(listing);
  }
  return page;
}

// Removes the newest description and remembers whose chunks have to go.
Status NatsStore::DeleteOnce(Session& session, const std::string& key, std::string& nuid) {
  while (true) {
    const Result<std::optional<NatsObject>> object = FindObject(session, sessions_.bucket(), key);
    if (!object.ok() && object.code() == Errc::kNotFound) return Ok();  // no bucket
    if (!object.ok()) return object.error();
    const bool there = object->has_value() && !(*object)->deleted;
    // The chunks of an object whose removal was answered or not: it is no longer the newest.
    if (!nuid.empty() && !(there && (*object)->nuid == nuid)) {
      TRY(PurgeChunks(session, sessions_.bucket(), nuid));
      nuid.clear();
      return Ok();
    }
    if (!there) return Ok();
    nuid = (*object)->nuid;
    TRY(RemoveMessage(session, sessions_.bucket(), (*object)->seq));
  }
}

Status NatsStore::Delete(const std::string& key) {
  TRY(CheckKey(key));
  Retry retry(sessions_.options().retry);
  std::string nuid;
  return sessions_.Run(retry, [&](Session& session) { return DeleteOnce(session, key, nuid); });
}

}  // namespace

std::unique_ptr<ObjectStore> OpenNatsStore(NatsStoreOptions options) {
  return std::make_unique<NatsStore>(std::move(options));
}

}  // namespace runnel::store
