#include "ltx/base/log.h"

#include <atomic>
#include <cmath>
#include <memory>

#include <fmt/format.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include "ltx/base/time.h"

namespace runnel {
namespace {

// The width that lines up the keys of most events in text form.
constexpr size_t kEventWidth = 22;

struct Sink {
  Sink() {
    logger.set_pattern("%v");
    logger.set_level(spdlog::level::trace);  // filtered by us, before anything is formatted
    logger.flush_on(spdlog::level::info);    // stderr may be a pipe that is read by a person
  }

  std::atomic<int> level{static_cast<int>(Level::kInfo)};
  std::atomic<LogFormat> format{LogFormat::kText};
  // Owned here, not by spdlog's registry, so that nothing else in the process can reconfigure it.
  spdlog::logger logger{"runnel", std::make_shared<spdlog::sinks::stderr_sink_mt>()};
};

// Threads that log are joined before main returns, so the end of the process does not race with them.
Sink& GetSink() {
  static Sink sink;
  return sink;
}

bool NeedsQuotes(std::string_view text) {
  if (text.empty()) return true;
  for (char c : text) {
    unsigned char u = static_cast<unsigned char>(c);
    if (u <= ' ' || c == '"' || c == '=' || c == '\\' || u == 0x7f) return true;
  }
  return false;
}

// Length of the well-formed UTF-8 sequence at the front, 0 if it is malformed.
size_t Utf8Length(std::string_view text) {
  unsigned char lead = static_cast<unsigned char>(text[0]);
  size_t length = lead < 0x80                   ? 1
                  : lead >= 0xc2 && lead < 0xe0 ? 2
                  : lead >= 0xe0 && lead < 0xf0 ? 3
                  : lead >= 0xf0 && lead < 0xf5 ? 4
                                                : 0;
  if (length == 0 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xc0) != 0x80) return 0;
  }
  unsigned char second = length > 1 ? static_cast<unsigned char>(text[1]) : 0;
  if ((lead == 0xe0 && second < 0xa0) || (lead == 0xed && second > 0x9f)) return 0;  // overlong, surrogate
  if ((lead == 0xf0 && second < 0x90) || (lead == 0xf4 && second > 0x8f)) return 0;  // overlong, above U+10FFFF
  return length;
}

// A JSON string, quotes included; also the quoted form of the text format, which machines read the same way.
void AppendQuoted(std::string& out, std::string_view text) {
  out.push_back('"');
  while (!text.empty()) {
    size_t length = Utf8Length(text);
    unsigned char c = static_cast<unsigned char>(text[0]);
    if (length == 0) {
      out += "\\ufffd";
      length = 1;
    } else if (c == '"' || c == '\\') {
      out.push_back('\\');
      out.push_back(text[0]);
    } else if (c == '\n') {
      out += "\\n";
    } else if (c < 0x20 || c == 0x7f) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(length);
  }
  out.push_back('"');
}

struct ValueWriter {
  std::string& out;
  LogFormat format;

  void operator()(std::string_view text) const {
    if (format == LogFormat::kJson || NeedsQuotes(text)) {
      AppendQuoted(out, text);
    } else {
      out += text;
    }
  }
  void operator()(int64_t number) const { out += fmt::format("{}", number); }
  void operator()(uint64_t number) const { out += fmt::format("{}", number); }
  void operator()(double number) const { out += std::isfinite(number) ? fmt::format("{:.6g}", number) : "null"; }
  void operator()(bool truth) const { out += truth ? "true" : "false"; }
};

std::string RenderText(std::string_view timestamp, Level level, std::string_view event,
                       std::initializer_list<LogField> fields) {
  std::string words(event);
  for (char& c : words) {
    if (c == '_') c = ' ';
  }
  std::string out = fields.size() == 0
                        ? fmt::format("{} {:<5} {}", timestamp, ToString(level), words)
                        : fmt::format("{} {:<5} {:<{}} ", timestamp, ToString(level), words, kEventWidth);
  for (const LogField& field : fields) {
    out.push_back(' ');
    out += field.key();
    out.push_back('=');
    std::visit(ValueWriter{out, LogFormat::kText}, field.value());
  }
  return out;
}

std::string RenderJson(std::string_view timestamp, Level level, std::string_view event,
                       std::initializer_list<LogField> fields) {
  std::string out = fmt::format("{{\"ts\":\"{}\",\"level\":\"{}\",\"event\":", timestamp, ToString(level));
  AppendQuoted(out, event);
  for (const LogField& field : fields) {
    out.push_back(',');
    AppendQuoted(out, field.key());
    out.push_back(':');
    std::visit(ValueWriter{out, LogFormat::kJson}, field.value());
  }
  out.push_back('}');
  return out;
}

}  // namespace

std::string_view ToString(Level level) {
  switch (level) {
    case Level::kError: return "error";
    case Level::kWarn: return "warn";
    case Level::kInfo: return "info";
    case Level::kDebug: return "debug";
    case Level::kTrace: return "trace";
  }
  return "unknown";
}

Result<Level> ParseLevel(std::string_view text) {
  for (Level level : {Level::kError, Level::kWarn, Level::kInfo, Level::kDebug, Level::kTrace}) {
    if (ToString(level) == text) return level;
  }
  return Error(Errc::kInvalid, fmt::format("\"{}\" is not a log level: error, warn, info, debug or trace", text));
}

Result<LogFormat> ParseLogFormat(std::string_view text) {
  if (text == "text") return LogFormat::kText;
  if (text == "json") return LogFormat::kJson;
  return Error(Errc::kInvalid, fmt::format("\"{}\" is not a log format: text or json", text));
}

void InitLog(const LogOptions& options) {
  Sink& sink = GetSink();
  sink.level.store(static_cast<int>(options.level), std::memory_order_relaxed);
  sink.format.store(options.format, std::memory_order_relaxed);
}

bool LogEnabled(Level level) { return static_cast<int>(level) <= GetSink().level.load(std::memory_order_relaxed); }

void Log(Level level, std::string_view event, std::initializer_list<LogField> fields) {
  if (!LogEnabled(level)) return;
  Sink& sink = GetSink();
  std::string line = RenderLogLine(sink.format.load(std::memory_order_relaxed), FormatRfc3339(SystemClock().Wall()),
                                   level, event, fields);
  sink.logger.log(spdlog::level::info, spdlog::string_view_t(line));
}

std::string RenderLogLine(LogFormat format, std::string_view timestamp, Level level, std::string_view event,
                          std::initializer_list<LogField> fields) {
  switch (format) {
    case LogFormat::kText: return RenderText(timestamp, level, event, fields);
    case LogFormat::kJson: return RenderJson(timestamp, level, event, fields);
  }
  return std::string();
}

}  // namespace runnel
