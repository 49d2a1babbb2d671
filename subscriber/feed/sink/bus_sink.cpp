#include "subscriber/feed/sink/bus_sink.h"

namespace runnel::feed {

Result<std::optional<Token>> BusSink::LastToken(std::stop_token stop) {
  TRY_ASSIGN(std::optional<std::string> id, writer_->LastId(std::move(stop)));
  if (!id) return std::optional<Token>();
  std::optional<Token> token = ParseToken(*id);
  if (token) return token;
  return Error(Errc::kRefused, writer_->location() + " holds something that is no event of a feed (id \"" + *id +
                                   "\"): give the feed another prefix");
}

Status BusSink::Write(const Event& event, std::stop_token stop) {
  std::string id = ToString(event.token);
  return writer_->Write({event.topic, event.key, id, event.value}, std::move(stop));
}

}  // namespace runnel::feed
