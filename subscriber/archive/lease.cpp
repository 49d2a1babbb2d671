#include "subscriber/archive/lease.h"

#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>

#include "bus/envelope.h"
#include "ltx/base/bytes.h"
#include "ltx/base/log.h"

namespace runnel::archive {
namespace {

constexpr uint64_t kLeaseBytesMax = 4096;
// Clocks of two machines may differ by this much before one takes the other's lease early.
constexpr std::chrono::seconds kClockSkew{5};

std::string FirstLine(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::string BootId() { return FirstLine("/proc/sys/kernel/random/boot_id"); }

// When a process was started, in the kernel's ticks since boot; 0: there is no such process.
uint64_t StartedAt(uint64_t pid) {
  const std::string stat = FirstLine("/proc/" + std::to_string(pid) + "/stat");
  const size_t name_end = stat.rfind(')');
  if (name_end == std::string::npos) return 0;
  std::istringstream fields(stat.substr(name_end + 1));
  std::string field;
  for (int i = 3; i <= 22; ++i) fields >> field;
  return std::strtoull(field.c_str(), nullptr, 10);
}

bool IsGone(const LeaseRecord& record) {
  return record.boot == BootId() && !record.boot.empty() && StartedAt(record.pid) != record.pid_started;
}

LeaseRecord OurRecord(const Lease::Options& options) {
  LeaseRecord record;
  record.owner = ToString(bus::Lineage::Random());
  record.node = options.node;
  record.boot = BootId();
  record.pid = static_cast<uint64_t>(::getpid());
  record.pid_started = StartedAt(record.pid);
  record.expires_at = SystemClock().Wall() + options.ttl;
  return record;
}

}  // namespace

std::string EncodeLease(const LeaseRecord& record) {
  const nlohmann::json json = {{"owner", record.owner},
                               {"node", record.node},
                               {"boot", record.boot},
                               {"pid", record.pid},
                               {"pid_started", record.pid_started},
                               {"expires_at", FormatRfc3339(record.expires_at)}};
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

Result<LeaseRecord> DecodeLease(std::string_view text) {
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
  const Error corrupt(Errc::kCorrupt, "lease: not one of ours");
  if (!json.is_object()) return corrupt;
  LeaseRecord record;
  for (auto [key, value] :
       {std::pair{"owner", &record.owner}, std::pair{"node", &record.node}, std::pair{"boot", &record.boot}}) {
    const auto found = json.find(key);
    if (found == json.end() || !found->is_string()) return corrupt;
    *value = found->get<std::string>();
  }
  for (auto [key, value] : {std::pair{"pid", &record.pid}, std::pair{"pid_started", &record.pid_started}}) {
    const auto found = json.find(key);
    if (found == json.end() || !found->is_number_unsigned()) return corrupt;
    *value = found->get<uint64_t>();
  }
  const auto expires = json.find("expires_at");
  if (expires == json.end() || !expires->is_string()) return corrupt;
  Result<WallTime> expires_at = ParseRfc3339(expires->get<std::string>());
  if (!expires_at.ok()) return corrupt;
  record.expires_at = *expires_at;
  return record;
}

LeaseClaim JudgeLease(const LeaseRecord& record, WallTime now, bool holder_gone) {
  const bool over = record.expires_at == WallTime() || now > record.expires_at + kClockSkew;
  return over || holder_gone ? LeaseClaim::kFree : LeaseClaim::kHeld;
}

Result<std::unique_ptr<Lease>> Lease::Acquire(store::ObjectStore& store, Options options) {
  LeaseRecord ours = OurRecord(options);
  Result<store::ObjectInfo> there = store.Head(options.key);
  store::PutOptions put;
  if (!there.ok()) {
    if (there.code() != Errc::kNotFound) return there.error();
    put.condition = store::WriteCondition::IfAbsent();
  } else {
    Result<std::string> text = store.GetAll(options.key, kLeaseBytesMax);
    if (!text.ok() && text.code() != Errc::kNotFound) return text.error();
    // What cannot be read was put by nobody we know: it holds nothing.
    Result<LeaseRecord> theirs = text.ok() ? DecodeLease(*text) : Result<LeaseRecord>(text.error());
    if (theirs.ok() && !options.steal &&
        JudgeLease(*theirs, SystemClock().Wall(), IsGone(*theirs)) == LeaseClaim::kHeld) {
      return Error(Errc::kUnavailable, store.location() + " is being written by " + theirs->node + " (process " +
                                           std::to_string(theirs->pid) + "), which holds it until " +
                                           FormatRfc3339(theirs->expires_at));
    }
    put.condition = store::WriteCondition::IfVersion(there->version);
  }
  Result<std::string> version = store.Put(options.key, AsBytes(EncodeLease(ours)), put);
  if (!version.ok()) {
    if (version.code() != Errc::kConflict) return version.error();
    return Error(Errc::kUnavailable, store.location() + ": another archiver has taken the lease just now");
  }
  return std::unique_ptr<Lease>(new Lease(store, std::move(options), std::move(ours), std::move(*version)));
}

Lease::Lease(store::ObjectStore& store, Options options, LeaseRecord record, std::string version)
    : store_(store), options_(std::move(options)), record_(std::move(record)), version_(std::move(version)) {
  good_until_.Set(DeadlineIn(options_.ttl));
  thread_ = std::jthread([this](std::stop_token stop) { Renew(std::move(stop)); });
}

Lease::~Lease() {
  thread_.request_stop();
  thread_.join();
  if (!held()) return;
  Status released = Put(true);
  if (!released.ok()) Log(Level::kDebug, "lease_not_released", {{"err", released.error().message()}});
}

Status Lease::Check() {
  Result<std::string> text = store_.GetAll(options_.key, kLeaseBytesMax);
  if (!text.ok() && text.code() != Errc::kNotFound) return text.error();
  Result<LeaseRecord> record = text.ok() ? DecodeLease(*text) : Result<LeaseRecord>(text.error());
  if (!record.ok() || record->owner != record_.owner) lost_.Set(true);
  return Ok();
}

bool Lease::held() const { return !lost_.Get() && std::chrono::steady_clock::now() < good_until_.Get(); }

Status Lease::Put(bool release) {
  const SteadyTime until = DeadlineIn(options_.ttl);
  record_.expires_at = release ? WallTime() : SystemClock().Wall() + options_.ttl;
  store::PutOptions put;
  put.condition = store::WriteCondition::IfVersion(version_);
  TRY_ASSIGN(version_, store_.Put(options_.key, AsBytes(EncodeLease(record_)), put));
  good_until_.Set(until);
  return Ok();
}

void Lease::Renew(std::stop_token stop) {
  while (SleepUntil(DeadlineIn(options_.ttl / 3), stop).ok()) {
    Status renewed = Put(false);
    if (renewed.ok()) continue;
    if (renewed.code() == Errc::kConflict || renewed.code() == Errc::kNotFound) {
      lost_.Set(true);
      return;
    }
    Log(Level::kWarn, "lease_not_renewed", {{"err", renewed.error().message()}});
  }
}

}  // namespace runnel::archive
