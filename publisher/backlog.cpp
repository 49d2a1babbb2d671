#include "publisher/backlog.h"

#include <filesystem>
#include <system_error>
#include <utility>

#include "bus/open.h"
#include "ltx/base/log.h"

namespace runnel::publisher {
namespace {

const char kLogName[] = "backlog";
// Where it waits to be removed: a kill in the middle of that must not leave half a log under its name.
const char kGoneName[] = "backlog.gone";

}  // namespace

Result<std::unique_ptr<Backlog>> Backlog::Open(const std::string& directory, uint64_t bytes_max) {
  std::unique_ptr<Backlog> backlog(new Backlog(directory, bytes_max));  // private constructor
  std::error_code ec;
  if (!std::filesystem::exists(directory + "/" + kLogName, ec)) return backlog;
  auto look = [&backlog]() -> Result<bool> {
    TRY(backlog->OpenLog(Sync::kGroup));
    TRY_ASSIGN(bus::LogInfo info, backlog->log_->Info());
    return info.message_count > 0;
  };
  Result<bool> holds_something = look();
  if (!holds_something.ok() && holds_something.code() != Errc::kCorrupt) return holds_something.error();
  if (!holds_something.ok()) {
    Log(Level::kWarn, "backlog_damaged", {{"path", directory}, {"err", holds_something.error().message()}});
  }
  if (!holds_something.ok() || !*holds_something) TRY(backlog->Clear());
  return backlog;
}

Status Backlog::OpenLog(Sync sync) {
  const std::string options = sync == Sync::kNone ? "?sync=none" : "";
  const std::string directory = std::filesystem::absolute(directory_).string();
  TRY_ASSIGN(log_, bus::OpenLog("file://" + directory + "/" + kLogName + options, {}));
  sync_ = sync;
  Status created = log_->Create();
  if (!created.ok()) log_.reset();
  return created;
}

// Asked many times a second while it grows: the log's own Info would read through its newest segment each time.
uint64_t Backlog::bytes() const {
  if (log_ == nullptr) return 0;
  uint64_t bytes = 0;
  std::error_code ec;
  for (std::filesystem::directory_iterator file(directory_ + "/" + kLogName, ec), end; !ec && file != end;
       file.increment(ec)) {
    std::error_code gone;  // a segment may go meanwhile
    const uintmax_t size = file->is_regular_file(gone) ? file->file_size(gone) : 0;
    if (!gone) bytes += size;
  }
  return bytes;
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

Result<bus::Log*> Backlog::Writable(Sync sync) {
  if (log_ != nullptr && sync_ != sync) TRY(OpenLog(sync));
  if (log_ == nullptr) {
    std::error_code ec;
    std::filesystem::create_directories(directory_, ec);
    if (ec) return ErrnoError(ec.value(), "create " + directory_);
    TRY(OpenLog(sync));
  }
  return log_.get();
}

Result<std::unique_ptr<bus::LogReader>> Backlog::Read() { return log_->Read(bus::FromEarliest()); }

Status Backlog::Clear() {
  log_.reset();
  const std::string gone = directory_ + "/" + kGoneName;
  std::error_code ec;
  std::filesystem::remove_all(gone, ec);
  if (!ec) std::filesystem::rename(directory_ + "/" + kLogName, gone, ec);
  if (ec == std::errc::no_such_file_or_directory) return Ok();
  if (!ec) std::filesystem::remove_all(gone, ec);
  return ec ? Status(ErrnoError(ec.value(), "remove " + gone)) : Ok();
}

}  // namespace runnel::publisher
