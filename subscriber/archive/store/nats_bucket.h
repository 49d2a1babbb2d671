// One JetStream object bucket as its stream has it: names, descriptions of objects, and the single requests a store is
// made of.
//
// Layout (NATS ADR-20, the same as nats.go's and Litestream's):
//   stream    OBJ_<bucket>, subjects $O.<bucket>.C.> and $O.<bucket>.M.>, rollup headers allowed
//   chunk     $O.<bucket>.C.<nuid>   bytes of one object, in the order of the stream; chunks have any size
//   object    $O.<bucket>.M.<base64url(name)>   JSON, with the header Nats-Rollup: sub, so only the newest stays
//
// All that comes from the server is checked. Functions take a Session that is theirs for the call.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bus/nats/session.h"
#include "ltx/base/result.h"
#include "ltx/base/time.h"
#include "subscriber/archive/store/object_store.h"

namespace runnel::store {

struct NatsBucket {
  std::string name;
  uint32_t replicas = 1;  // of a stream that we make

  std::string Stream() const { return "OBJ_" + name; }
  std::string ChunkSubject(std::string_view nuid) const;
  std::string MetaSubject(std::string_view key) const;
  std::string AllMetaSubjects() const;
};

// The newest description of an object.
struct NatsObject {
  uint64_t seq = 0;  // of its message: the object's version
  std::string key;
  std::string nuid;  // names its chunks
  uint64_t size = 0;
  uint64_t chunk_count = 0;
  uint64_t chunk_bytes_max = 0;  // 0: not told; never relied upon
  std::string digest;            // "SHA-256=<base64url>"; empty: none
  bool deleted = false;
  bool link = false;  // to another object: not supported
  WallTime stored_at;
  std::optional<WallTime> timestamp;
};
ObjectInfo InfoOf(const NatsObject& object);

// nullopt: not a description of an object.
std::optional<NatsObject> ParseNatsObject(std::string_view json, uint64_t seq, WallTime stored_at);
std::string RenderNatsObject(const NatsBucket& bucket, const NatsObject& object);

// With '=' at its end, as ADR-20 has it.
std::string Base64Url(std::string_view bytes);
// 22 random characters.
std::string NewNuid();
std::string DigestText(Bytes sha256);

// Errors of all: kUnavailable, kNotFound (the bucket does not exist), kInvalid (JetStream off, no permission),
// kExhausted.

// Makes the stream if it is not there.
Status EnsureBucket(bus::nats::Session& session, const NatsBucket& bucket);
// How the stream stands; changes whenever an object does.
struct BucketState {
  uint64_t last_seq = 0;
  uint64_t message_count = 0;
  auto operator<=>(const BucketState&) const = default;
};
Result<BucketState> GetState(bus::nats::Session& session, const NatsBucket& bucket);
// The newest description, also a deleted one's. nullopt: none.
Result<std::optional<NatsObject>> FindObject(bus::nats::Session& session, const NatsBucket& bucket,
                                             const std::string& key);
// Publishes a description behind exactly message `last_seq` of its subject (0: none); returns its sequence. kConflict:
// another came first.
Result<uint64_t> PublishObject(bus::nats::Session& session, const NatsBucket& bucket, const NatsObject& object,
                               uint64_t last_seq);
// Removes exactly this message. False: it is not there any more.
Result<bool> RemoveMessage(bus::nats::Session& session, const NatsBucket& bucket, uint64_t seq);
Status PurgeChunks(bus::nats::Session& session, const NatsBucket& bucket, const std::string& nuid);

// Reads messages of a bucket from a consumer that is made for it and goes with it. THREAD: one. LIFETIME: the session
// outlives it.
class BucketReader {
 public:
  struct From {
    std::string subject;
    uint64_t seq = 1;           // the first message at or behind this one
    bool newest_only = false;   // of each subject; `seq` is ignored
    bool headers_only = false;  // messages come without bytes but with Nats-Msg-Size
  };
  static Result<std::unique_ptr<BucketReader>> Open(bus::nats::Session& session, const NatsBucket& bucket,
                                                    const From& from, std::stop_token stop);
  ~BucketReader();

  struct Item {
    uint64_t seq = 0;
    WallTime stored_at;
    uint64_t size = 0;  // of the message's bytes, also when they were not sent
    bus::nats::MessageHandle message;
    Bytes bytes() const;
  };
  // The next message, asking for `batch` when none are on their way. nullopt: there are no more. Errors: kUnavailable
  // (also when one was lost on the way), kCancelled.
  Result<std::optional<Item>> Next(uint32_t batch);

 private:
  BucketReader(bus::nats::Session& session, const NatsBucket& bucket, bool headers_only, std::stop_token stop)
      : session_(session), bucket_(bucket), headers_only_(headers_only), stop_(std::move(stop)) {}
  Status Ask(uint32_t batch);
  Result<bus::nats::MessageHandle> Receive();

  bus::nats::Session& session_;
  const NatsBucket& bucket_;
  const bool headers_only_;
  const std::stop_token stop_;
  std::string consumer_;
  std::string inbox_;
  bus::nats::SubscriptionHandle subscription_;
  uint64_t left_ = 0;       // messages that matched when the consumer was made and have not come yet
  uint32_t asked_ = 0;      // of the open request, not come yet
  uint64_t delivered_ = 0;  // number of the last message, counted by the consumer
};

// Waits for one message in steps, so that a stop is noticed. NATS_TIMEOUT past the deadline.
natsStatus NextMessage(natsMsg** message, natsSubscription* subscription, SteadyTime deadline,
                       const std::stop_token& stop);

}  // namespace runnel::store
