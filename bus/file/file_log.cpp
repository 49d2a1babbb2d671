#include "bus/file/file_log.h"

#include <sys/stat.h>

#include <algorithm>
#include <charconv>

#include "bus/file/appender.h"
#include "bus/file/file_notes.h"
#include "bus/file/file_reader.h"
#include "bus/file/file_writer.h"
#include "bus/file/locator.h"
#include "bus/file/log_dir.h"
#include "bus/file/settings.h"
#include "bus/file/unsynced_writer.h"
#include "bus/file/wakeup.h"

namespace runnel::bus {
namespace file {
namespace {

constexpr uint64_t kSegmentBytesMin = 4096;
constexpr uint64_t kSegmentBytesMax = 1 << 30;  // far from where 32-bit offsets end

Result<Settings> ParseSettings(const Url& url, const OpenOptions& options) {
  Settings settings;
  settings.retention = options.retention;
  for (const auto& [key, value] : url.query) {
    if (key == "sync" && (value == "group" || value == "none")) {
      settings.sync = value == "group";
    } else if (key == "segment_bytes") {
      auto [stop, err] = std::from_chars(value.data(), value.data() + value.size(), settings.segment_bytes);
      bool number = err == std::errc() && stop == value.data() + value.size();
      if (!number || settings.segment_bytes < kSegmentBytesMin || settings.segment_bytes > kSegmentBytesMax) {
        return Error(Errc::kInvalid, "bus url: segment_bytes must be a number from 4096 to 1073741824");
      }
    } else {
      return Error(Errc::kInvalid,
                   "bus url: '" + key + "=" + value +
                       "' is not an option of a file log; it knows sync=group, sync=none, segment_bytes=N");
    }
  }
  return settings;
}

class FileLog : public Log {
 public:
  FileLog(std::string name, std::string path, const Settings& settings)
      : name_(std::move(name)), dir_(std::move(path)), settings_(settings), locator_(dir_) {}

  Result<LogInfo> Info() override;
  Status Create() override { return dir_.Create(); }
  Result<std::optional<Message>> Tail() override;
  Result<std::optional<Message>> Get(StreamSeq seq) override;
  Result<std::unique_ptr<LogWriter>> TakeOver(const TakeOverDecision& decision, WriterOptions options,
                                              std::stop_token stop) override;
  Result<std::unique_ptr<LogReader>> Read(StartAt start) override;
  Status TrimBefore(StreamSeq seq) override;
  Status PutNote(const Note& note) override { return file::PutNote(dir_.path(), note); }
  Result<std::vector<Note>> Notes() override { return GetNotes(dir_.path()); }

 private:
  Result<FileReader::Start> Locate(const LeaderState& leader, const StartAt& start);

  const std::string name_;
  const LogDir dir_;
  const Settings settings_;
  Locator locator_;
};

Result<LogInfo> FileLog::Info() {
  TRY_ASSIGN(LeaderState leader, dir_.ReadLeader());
  TRY_ASSIGN(Locator::Tail tail, locator_.FindTail(leader));
  LogInfo info;
  info.adapter = "file";
  info.name = name_;
  info.location = dir_.path();
  info.incarnation = ToString(leader.incarnation);
  info.last_seq = StreamSeq(tail.end.seq.raw() - 1);
  if (tail.message) {
    info.first_seq = leader.first_seq;
    info.message_count = info.last_seq.raw() - info.first_seq.raw() + 1;
  }
  TRY_ASSIGN(std::vector<StreamSeq> segments, dir_.Segments());
  for (StreamSeq segment : segments) {
    struct stat status {};
    if (::stat(dir_.SegmentPath(segment).c_str(), &status) == 0) info.bytes += static_cast<uint64_t>(status.st_size);
  }
  if (!settings_.sync) {
    info.dangers.push_back("sync=none: a power failure loses acknowledged messages; remove it from the URL");
  }
  return info;
}

Result<std::optional<Message>> FileLog::Tail() {
  TRY_ASSIGN(LeaderState leader, dir_.ReadLeader());
  TRY_ASSIGN(Locator::Tail tail, locator_.FindTail(leader));
  return std::move(tail.message);
}

Result<std::optional<Message>> FileLog::Get(StreamSeq seq) {
  TRY_ASSIGN(LeaderState leader, dir_.ReadLeader());
  TRY_ASSIGN(Found found, locator_.FindSequence(leader, seq));
  return std::move(found.message);
}

Result<std::unique_ptr<LogWriter>> FileLog::TakeOver(const TakeOverDecision& decision, WriterOptions options,
                                                     std::stop_token stop) {
  TRY_ASSIGN(std::unique_ptr<Appender> appender, Appender::Open(dir_.path(), settings_));
  TRY(appender->TakeLead(decision, std::move(stop)));
  if (!settings_.sync) {
    return std::unique_ptr<LogWriter>(std::make_unique<UnsyncedWriter>(std::move(appender), std::move(options)));
  }
  return std::unique_ptr<LogWriter>(std::make_unique<FileWriter>(std::move(appender), std::move(options)));
}

Result<FileReader::Start> FileLog::Locate(const LeaderState& leader, const StartAt& start) {
  FileReader::Start out;
  Result<Found> found = Error(Errc::kInvalid, "unset");
  if (const auto* sequence = std::get_if<FromSequence>(&start)) {
    out.seq_min = sequence->seq;
    found = locator_.FindSequence(leader, sequence->seq);
  } else if (const auto* moment = std::get_if<FromTime>(&start)) {
    out.time_min = moment->time;
    found = locator_.FindTime(leader, moment->time);
  } else if (std::holds_alternative<FromEarliest>(start)) {
    found = locator_.FindSequence(leader, leader.first_seq);
  } else {
    TRY_ASSIGN(Locator::Tail tail, locator_.FindTail(leader));
    found = Found{tail.end, std::nullopt};
  }
  if (!found.ok()) return found.error();
  out.place = found->place;
  return out;
}

Result<std::unique_ptr<LogReader>> FileLog::Read(StartAt start) {
  auto wakeup = std::make_unique<Wakeup>(dir_.path());
  TRY_ASSIGN(LeaderState leader, dir_.ReadLeader());
  TRY_ASSIGN(FileReader::Start place, Locate(leader, start));
  return std::unique_ptr<LogReader>(std::make_unique<FileReader>(dir_, leader.incarnation, place, std::move(wakeup)));
}

Status FileLog::TrimBefore(StreamSeq seq) {
  TRY_ASSIGN(LeaderFile file, LeaderFile::Open(dir_));
  TRY_ASSIGN(LeaderFile::Lock lock, file.Acquire({}));
  TRY_ASSIGN(LeaderState state, file.Read());
  TRY_ASSIGN(Locator::Tail tail, locator_.FindTail(state));
  seq = std::min(seq, tail.end.seq);
  if (seq <= state.first_seq) return Ok();
  state.first_seq = seq;
  // First the number, then the files: whoever still sees a file does not read from it.
  TRY(file.Write(state, settings_.sync));
  return dir_.DeleteSegmentsBefore(seq);
}

}  // namespace
}  // namespace file

Result<std::unique_ptr<Log>> OpenFileLog(const Url& url, const OpenOptions& options) {
  if (url.scheme != "file") return Error(Errc::kInvalid, "bus url: not a file log");
  TRY_ASSIGN(file::Settings settings, file::ParseSettings(url, options));
  std::string path = url.directory + "/" + url.name;
  return std::unique_ptr<Log>(std::make_unique<file::FileLog>(url.name, std::move(path), settings));
}

}  // namespace runnel::bus
