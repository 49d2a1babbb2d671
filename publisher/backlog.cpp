#include "publisher/backlog.h"

#include <filesystem>
#include <system_error>
#include <utility>

#include "bus/open.h"

namespace runnel::publisher {
namespace {

const char kLogName[] = "backlog";

}  // namespace

Result<std::unique_ptr<Backlog>> Backlog::Open(const std::string& directory, uint64_t bytes_max) {
  std::unique_ptr<Backlog> backlog(new Backlog(directory, bytes_max));  // private constructor
  std::error_code ec;
  if (!std::filesystem::exists(directory + "/" + kLogName, ec)) return backlog;
  TRY(backlog->OpenLog());
  TRY_ASSIGN(bus::LogInfo info, backlog->log_->Info());
  if (info.message_count == 0) TRY(backlog->Clear());
  return backlog;
}

Status Backlog::OpenLog() {
  TRY_ASSIGN(log_, bus::OpenLog("file://" + std::filesystem::absolute(directory_).string() + "/" + kLogName, {}));
  Status created = log_->Create();
  if (!created.ok()) log_.reset();
  return created;
}

uint64_t Backlog::bytes() const {
  if (log_ == nullptr) return 0;
  Result<bus::LogInfo> info = log_->Info();
  return info.ok() ? info->bytes : 0;
}

Result<LogHead> Backlog::Head() {
  if (log_ == nullptr) return LogHead();
  return ReadLogHead(*log_);
}

Result<std::optional<Txid>> Backlog::FirstTxid() {
  if (log_ == nullptr) return std::optional<Txid>();
  TRY_ASSIGN(std::optional<bus::Message> message, log_->Get(bus::StreamSeq(1)));
  while (message) {
    TRY_ASSIGN(bus::Header header, bus::DecodeHeader(message->payload));
    if (header.min_txid <= header.position.txid) return std::optional(header.min_txid);
    TRY_ASSIGN(message, log_->Get(message->seq.Next()));
  }
  return std::optional<Txid>();
}

Result<bus::Log*> Backlog::Writable() {
  if (log_ == nullptr) {
    std::error_code ec;
    std::filesystem::create_directories(directory_, ec);
    if (ec) return ErrnoError(ec.value(), "create " + directory_);
    TRY(OpenLog());
  }
  return log_.get();
}

Result<std::unique_ptr<bus::LogReader>> Backlog::Read() { return log_->Read(bus::FromEarliest()); }

Status Backlog::Clear() {
  log_.reset();
  std::error_code ec;
  std::filesystem::remove_all(directory_ + "/" + kLogName, ec);
  return ec ? Status(ErrnoError(ec.value(), "remove " + directory_)) : Ok();
}

}  // namespace runnel::publisher
