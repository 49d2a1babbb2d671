// What happened, for people and machines: an event is a name in the past tense and typed fields.
//
//   Log(Level::kInfo, "ltx_published", {{"db", name}, {"max_txid", ToString(txid)}, {"bytes", bytes}});
//
//   text   2024-05-01T12:00:00.123456Z info  ltx published  db=app max_txid=00000000000003e8 bytes=4120
//   json   {"ts":"2024-05-01T12:00:00.123456Z","level":"info","event":"ltx_published","db":"app",...}
//
// One event is one line on standard error: control characters in texts are escaped, invalid UTF-8 is replaced in JSON.
// error = a human must act; warn = healing itself, counted by a metric; info = changes of state; debug = per
// transaction; trace = per page. Never a payload, never a secret. Field names come from one list: db, epoch, lineage,
// min_txid, max_txid, position, pgno, wal_offset, seq, bytes, dur_ms, attempt, errc, err.
//
// THREAD: any, after InitLog. Before InitLog events of info and above are written as text.
#pragma once

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <variant>

#include "ltx/base/result.h"

namespace runnel {

enum class Level { kError, kWarn, kInfo, kDebug, kTrace };

enum class LogFormat { kText, kJson };

std::string_view ToString(Level level);
// "error", "warn", "info", "debug", "trace". Errors: kInvalid.
Result<Level> ParseLevel(std::string_view text);
// "text", "json". Errors: kInvalid.
Result<LogFormat> ParseLogFormat(std::string_view text);

// One key and its value. LIFETIME: borrows texts until the end of the full expression; meant for braces at the call.
class LogField {
 public:
  using Value = std::variant<std::string_view, int64_t, uint64_t, double, bool>;

  LogField(std::string_view key, std::string_view value) : key_(key), value_(value) {}
  LogField(std::string_view key, const std::string& value) : key_(key), value_(std::string_view(value)) {}
  LogField(std::string_view key, const char* value) : key_(key), value_(std::string_view(value)) {}
  LogField(std::string_view key, std::same_as<bool> auto value) : key_(key), value_(value) {}
  LogField(std::string_view key, std::floating_point auto value) : key_(key), value_(static_cast<double>(value)) {}
  template <std::integral T>
  requires(!std::same_as<T, bool>) LogField(std::string_view key, T value) : key_(key), value_(Widen(value)) {}

  std::string_view key() const { return key_; }
  const Value& value() const { return value_; }

 private:
  template <typename T>
  static Value Widen(T value) {
    if constexpr (std::signed_integral<T>) {
      return static_cast<int64_t>(value);
    } else {
      return static_cast<uint64_t>(value);
    }
  }

  std::string_view key_;
  Value value_;
};

struct LogOptions {
  Level level = Level::kInfo;
  LogFormat format = LogFormat::kText;
};

// Sets level and form for the process. REQUIRES: no other thread logs yet.
void InitLog(const LogOptions& options);

// True if events of this level are written; ask before building costly fields.
bool LogEnabled(Level level);

void Log(Level level, std::string_view event, std::initializer_list<LogField> fields = {});

// The line an event becomes, without the newline; pure.
std::string RenderLogLine(LogFormat format, std::string_view timestamp, Level level, std::string_view event,
                          std::initializer_list<LogField> fields);

}  // namespace runnel
