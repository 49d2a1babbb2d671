#include "bus/file/log_dir.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>

#include "ltx/base/time.h"

namespace runnel::bus::file {
namespace {

constexpr std::string_view kLeaderMagic = "RNLLEAD1";
constexpr size_t kLeaderBytes = 64;
constexpr size_t kLeaderChecked = 12;
constexpr uint32_t kLeaderVersion = 1;
constexpr size_t kSeqDigits = 20;  // every 64-bit number, so that names sort as numbers
constexpr std::string_view kSegmentSuffix = ".seg";
constexpr std::string_view kTemporarySuffix = ".tmp";
// The lock is held for microseconds; a holder that was stopped in the middle is looked at again this often.
constexpr std::chrono::milliseconds kLockRetry{1};

std::optional<StreamSeq> ParseSegmentName(std::string_view name) {
  if (name.size() != kSeqDigits + kSegmentSuffix.size() || !name.ends_with(kSegmentSuffix)) return std::nullopt;
  uint64_t seq = 0;
  auto [stop, err] = std::from_chars(name.data(), name.data() + kSeqDigits, seq);
  if (err != std::errc() || stop != name.data() + kSeqDigits || seq == 0) return std::nullopt;
  return StreamSeq(seq);
}

int SetLock(const File& file, short type) {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  int rc = 0;
  do {
    rc = ::fcntl(file.fd(), F_OFD_SETLK, &lock);
  } while (rc != 0 && errno == EINTR);
  return rc;
}

}  // namespace

std::string EncodeLeader(const LeaderState& state) {
  std::string body;
  AppendBe32(body, kLeaderVersion);
  body.append(AsText(state.incarnation.bytes));
  AppendBe64(body, state.fence);
  AppendBe64(body, state.first_seq.raw());
  body.resize(kLeaderBytes - kLeaderChecked, '\0');
  std::string out(kLeaderMagic);
  AppendBe32(out, Crc32c(AsBytes(body)));
  return out + body;
}

Result<LeaderState> DecodeLeader(Bytes bytes) {
  ByteReader reader(bytes);
  std::string_view magic = AsText(reader.Raw(kLeaderMagic.size()));
  uint32_t crc = reader.Be32();
  uint32_t version = reader.Be32();
  LeaderState state;
  Bytes incarnation = reader.Raw(state.incarnation.bytes.size());
  state.fence = reader.Be64();
  state.first_seq = StreamSeq(reader.Be64());
  bool whole = !reader.failed() && bytes.size() == kLeaderBytes && magic == kLeaderMagic;
  if (!whole || Crc32c(bytes.subspan(kLeaderChecked)) != crc) return Error(Errc::kCorrupt, "not a leader file");
  if (version != kLeaderVersion) {
    return Error(Errc::kUnsupported,
                 "leader file of format version " + std::to_string(version) + "; upgrade this program");
  }
  if (state.first_seq.raw() == 0) return Error(Errc::kCorrupt, "leader file with first sequence 0");
  std::ranges::copy(incarnation, state.incarnation.bytes.begin());
  return state;
}

std::string LogDir::SegmentPath(StreamSeq first_seq) const {
  std::string digits = std::to_string(first_seq.raw());
  return path_ + "/" + std::string(kSeqDigits - digits.size(), '0') + digits + std::string(kSegmentSuffix);
}

Status LogDir::Create() const {
  TRY(CreateDirs(path_));
  TRY_ASSIGN(bool exists, FileExists(leader_path()));
  if (exists) return Ok();
  // Made whole under another name and linked: of several that do this at once exactly one wins.
  LeaderState state;
  state.incarnation = Incarnation::Random();
  std::string temporary = path_ + "/" + ToString(state.incarnation) + std::string(kTemporarySuffix);
  TRY_ASSIGN(File file, File::Create(temporary));
  std::string bytes = EncodeLeader(state);
  TRY(file.WriteAt(0, AsBytes(bytes)));
  TRY(file.Sync());
  int rc = ::link(temporary.c_str(), leader_path().c_str());
  int link_error = errno;
  ::unlink(temporary.c_str());
  if (rc != 0 && link_error != EEXIST) return ErrnoError(link_error, leader_path());
  TRY(SyncDir(path_));
  return SyncDir(DirName(path_));
}

Result<LeaderState> LogDir::ReadLeader() const {
  TRY_ASSIGN(LeaderFile file, LeaderFile::Open(*this));
  return file.Read();
}

Result<std::vector<StreamSeq>> LogDir::Segments() const {
  TRY_ASSIGN(std::vector<std::string> names, ListDir(path_));
  std::vector<StreamSeq> out;
  for (const std::string& name : names) {
    std::optional<StreamSeq> seq = ParseSegmentName(name);
    if (seq) out.push_back(*seq);
  }
  std::ranges::sort(out);
  return out;
}

Result<File> LogDir::CreateSegment(const SegmentHeader& header, bool sync) const {
  std::string path = SegmentPath(header.first_seq);
  std::string temporary = path + std::string(kTemporarySuffix);
  TRY_ASSIGN(File file, File::CreateOrTruncate(temporary));
  std::string bytes = EncodeSegmentHeader(header);
  TRY(file.WriteAt(0, AsBytes(bytes)));
  if (sync) TRY(file.Sync());
  if (::rename(temporary.c_str(), path.c_str()) != 0) return ErrnoError(errno, path);
  if (sync) TRY(SyncDir(path_));
  return file;
}

Status LogDir::DeleteSegmentsBefore(StreamSeq first_seq) const {
  TRY_ASSIGN(std::vector<StreamSeq> segments, Segments());
  for (size_t i = 0; i + 1 < segments.size() && segments[i + 1] <= first_seq; ++i) {
    TRY(RemoveFile(SegmentPath(segments[i])));
  }
  return Ok();
}

void LogDir::DeleteTemporaries() const {
  Result<std::vector<std::string>> names = ListDir(path_);
  if (!names.ok()) return;  // what is left over does no harm
  for (const std::string& name : *names) {
    // A leader file in the making belongs to a Create that takes no lock.
    bool segment = name.ends_with(std::string(kSegmentSuffix) + std::string(kTemporarySuffix));
    if (segment) ::unlink((path_ + "/" + name).c_str());
  }
}

Result<LeaderFile> LeaderFile::Open(const LogDir& dir) {
  Result<File> file = File::OpenReadWrite(dir.leader_path());
  // A process that may only read the directory can still read the log.
  if (!file.ok() && file.code() != Errc::kNotFound) file = File::OpenRead(dir.leader_path());
  if (!file.ok()) {
    if (file.code() == Errc::kNotFound) return Error(Errc::kNotFound, dir.path() + ": no such log");
    return file.error();
  }
  return LeaderFile(*std::move(file));
}

LeaderFile::Lock::~Lock() {
  if (file_ != nullptr) SetLock(file_->file_, F_UNLCK);
}

Result<LeaderFile::Lock> LeaderFile::Acquire(std::stop_token stop) const {
  while (SetLock(file_, F_WRLCK) != 0) {
    if (errno != EAGAIN && errno != EACCES) return ErrnoError(errno, file_.path() + ": lock");
    Status slept = SleepUntil(DeadlineIn(kLockRetry), stop);
    if (!slept.ok()) return slept.error().With(file_.path() + ": lock");
  }
  Lock held(this);
  TRY(CheckStillThere());
  return held;
}

Status LeaderFile::CheckStillThere() const {
  struct stat ours {};
  struct stat there {};
  if (::fstat(file_.fd(), &ours) != 0) return ErrnoError(errno, file_.path());
  bool same = ::stat(file_.path().c_str(), &there) == 0 && ours.st_ino == there.st_ino && ours.st_dev == there.st_dev;
  if (same) return Ok();
  return Error(Errc::kUnavailable, file_.path() + ": the log was deleted or replaced");
}

Result<LeaderState> LeaderFile::Read() const {
  std::array<std::byte, kLeaderBytes> bytes{};
  Result<LeaderState> state = Error(Errc::kCorrupt, "unread");
  // Readers take no lock, so they may meet a write half way; it is over at the next look.
  for (int attempt = 0; attempt < 3 && !state.ok(); ++attempt) {
    TRY_ASSIGN(size_t size, file_.ReadAt(0, bytes));
    state = DecodeLeader(Bytes(bytes).first(size));
  }
  if (!state.ok()) return state.error().With(file_.path());
  return state;
}

Status LeaderFile::Write(const LeaderState& state, bool sync) {
  std::string bytes = EncodeLeader(state);
  TRY(file_.WriteAt(0, AsBytes(bytes)));
  return sync ? file_.Sync() : Ok();
}

}  // namespace runnel::bus::file
