// runnel wait REPLICA --txid T [--timeout 5s]: returns when the replica shows T; exit code 4 when it does not in time.
#include <charconv>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "ltx/base/time.h"
#include "ltx/base/units.h"
#include "subscriber/replica/position_file.h"
#include "tools/command.h"

namespace runnel::tools {
namespace {

// The position file is memory-mapped by the subscriber: looking costs microseconds and no one is asked.
constexpr std::chrono::milliseconds kLookEvery{1};

// 16 hex digits, a position (TXID/checksum), or a decimal number.
Result<Txid> ParseWanted(const std::string& text) {
  if (std::optional<Txid> txid = ParseTxid(text)) return *txid;
  if (std::optional<Position> position = ParsePosition(text)) return position->txid;
  uint64_t number = 0;
  auto [end, err] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (err == std::errc() && end == text.data() + text.size() && text.size() < 16) return Txid(number);
  return Error(Errc::kInvalid, "--txid " + text + " is neither 16 hex digits, a position, nor a decimal number");
}

Result<Position> Shown(const std::string& replica) {
  TRY_ASSIGN(std::unique_ptr<replica::PositionFile> file, replica::PositionFile::Open(replica + "-runnel/position"));
  return file->record().lo.position;
}

int Wait(const Context& context, const std::string& replica, const std::string& wanted, const std::string& timeout) {
  Result<Txid> txid = ParseWanted(wanted);
  if (!txid.ok()) return Fail(txid.error());
  Result<std::chrono::milliseconds> limit = ParseDuration(timeout);
  if (!limit.ok()) return Fail(limit.error());
  SteadyTime deadline = DeadlineIn(*limit);
  Position last;
  while (true) {
    Result<Position> shown = Shown(replica);
    if (shown.ok()) {
      last = *shown;
      if (shown->txid >= *txid) {
        if (context.json) {
          std::printf("%s\n", nlohmann::json({{"position", ToString(last)}, {"reached", true}}).dump().c_str());
        } else {
          std::printf("%s\n", ToString(last).c_str());
        }
        return kExitOk;
      }
    } else if (shown.code() != Errc::kNotFound) {
      return Fail(shown.error());
    }
    if (std::chrono::steady_clock::now() >= deadline) {
      if (context.json) {
        std::printf("%s\n", nlohmann::json({{"position", ToString(last)}, {"reached", false}}).dump().c_str());
      }
      if (!shown.ok()) {
        return Fail(
            Error(Errc::kTimeout, replica + ": still no replica after " + timeout + "; does its subscriber run?"));
      }
      return Fail(Error(Errc::kTimeout, replica + " shows " + ToString(last) + " after " + timeout + ", not yet TXID " +
                                            ToString(*txid)));
    }
    if (!SleepUntil(DeadlineIn(kLookEvery), std::stop_token()).ok()) return kExitFailed;
  }
}

}  // namespace

void AddWait(CLI::App& app, Context& context) {
  struct Options {
    std::string replica;
    std::string txid;
    std::string timeout = "5s";
  };
  auto options = std::make_shared<Options>();
  CLI::App* verb = app.add_subcommand("wait", "Wait until a replica shows a TXID (read your own writes)");
  verb->fallthrough();
  verb->add_option("REPLICA", options->replica, "Replica file")->required();
  verb->add_option("--txid", options->txid, "TXID (16 hex digits or decimal), or a position")->required();
  verb->add_option("--timeout", options->timeout, "How long to wait, e.g. 500ms, 5s, 1m");
  verb->callback([&context, options] {
    context.run = [&context, options] { return Wait(context, options->replica, options->txid, options->timeout); };
  });
}

}  // namespace runnel::tools
