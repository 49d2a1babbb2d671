// One object on its way into a bucket; see nats_store.h.
#pragma once

#include <openssl/evp.h>

#include <memory>
#include <string>

#include "subscriber/archive/store/nats_sessions.h"
#include "subscriber/archive/store/object_store.h"

namespace runnel::store {

// SHA-256 of a stream of bytes.
class Sha256 {
 public:
  Sha256();
  void Add(Bytes bytes);
  std::string Finish();  // 32 bytes; once

 private:
  struct Free {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };
  std::unique_ptr<EVP_MD_CTX, Free> context_;
};

class NatsWriter : public ObjectWriter {
 public:
  // Makes the bucket if need be. Errors: as NatsSessions::Run.
  static Result<std::unique_ptr<NatsWriter>> Start(NatsSessions& sessions, const std::string& key,
                                                   const PutOptions& options);
  ~NatsWriter() override { Abort(); }

  Status Write(Bytes bytes) override;
  Result<std::string> Commit() override;
  void Abort() override;

 private:
  NatsWriter(NatsSessions& sessions, const std::string& key, const PutOptions& options);
  Status Subscribe();
  Status SendChunk();
  Status SendFirstChunk();
  Status PublishChunk();
  // Takes acknowledgements until at most this many chunks are under way. kNotFound: nobody has taken a chunk.
  Status AwaitAcks(uint64_t inflight_max);
  Status CheckCondition(const std::optional<NatsObject>& there) const;
  // Publishes the description once; nullopt: another put came between, look again.
  Result<std::optional<uint64_t>> PublishOnce(bus::nats::Session& session);
  Error Context(const Error& error) const;

  NatsSessions& sessions_;
  const PutOptions options_;
  NatsObject object_;
  std::unique_ptr<bus::nats::Session> session_;  // gone once the chunks are acknowledged
  bus::nats::SubscriptionHandle acks_;
  std::string inbox_;
  std::string chunk_;  // bytes not sent yet, at most one chunk
  size_t chunk_bytes_;
  uint64_t acked_count_ = 0;
  Sha256 digest_;
  bool announced_ = false;  // the description may be in the stream: the chunks must stay
  bool done_ = false;
};

}  // namespace runnel::store
