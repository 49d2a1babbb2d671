#include "tests/support/nats_admin.h"

namespace runnel::testing {

Result<bus::nats::Session*> NatsAdmin::Connected() {
  if (session_ == nullptr || session_->closed()) {
    TRY_ASSIGN(session_, bus::nats::Session::Connect(endpoint_, 0));
  }
  return session_.get();
}

Result<std::string> NatsAdmin::Api(const std::string& call, const std::string& body) {
  TRY_ASSIGN(bus::nats::Session * session, Connected());
  TRY_ASSIGN(std::string answer, session->Request("$JS.API." + call, body));
  if (answer.find("\"error\"") != std::string::npos) return Error(Errc::kRefused, answer);
  return answer;
}

Status NatsAdmin::Publish(const std::string& subject, const std::string& payload, const std::string& id) {
  TRY_ASSIGN(bus::nats::Session * session, Connected());
  natsMsg* raw = nullptr;
  natsStatus status = natsMsg_Create(&raw, subject.c_str(), nullptr, payload.data(), static_cast<int>(payload.size()));
  const bus::nats::MessageHandle message(raw);
  if (status == NATS_OK && !id.empty()) status = natsMsgHeader_Set(raw, "Nats-Msg-Id", id.c_str());
  if (status != NATS_OK) return session->Unavailable("publish", status);
  TRY_ASSIGN(const std::string answer, session->Request(raw));
  const bus::nats::PublishAck ack = bus::nats::ParsePublishAck(answer);
  if (!ack.accepted) return Error(Errc::kRefused, answer);
  return Ok();
}

}  // namespace runnel::testing
