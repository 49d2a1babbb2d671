#include "bus/file/file_notes.h"

#include <sys/stat.h>

#include "bus/url.h"
#include "ltx/base/bytes.h"
#include "ltx/base/fs.h"

namespace runnel::bus::file {
namespace {

constexpr uint64_t kNoteBytesMax = 16 << 10;

std::string DirOf(const std::string& log_path) { return log_path + "/notes"; }

}  // namespace

Status PutNote(const std::string& log_path, const Note& note) {
  if (!IsDatabaseName(note.key)) return Error(Errc::kInvalid, "\"" + note.key + "\" is no key for a note");
  if (note.text.size() > kNoteBytesMax)
    return Error(Errc::kInvalid, "a note of " + std::to_string(note.text.size()) + " bytes");
  TRY(CreateDirs(DirOf(log_path)));
  return WriteFileAtomically(DirOf(log_path) + "/" + note.key, AsBytes(note.text));
}

Result<std::vector<Note>> GetNotes(const std::string& log_path) {
  std::vector<Note> notes;
  Result<std::vector<std::string>> names = ListDir(DirOf(log_path));
  if (!names.ok()) return names.code() == Errc::kNotFound ? Result<std::vector<Note>>(std::move(notes)) : names.error();
  for (const std::string& name : *names) {
    if (!IsDatabaseName(name)) continue;
    const std::string path = DirOf(log_path) + "/" + name;
    struct stat st {};
    Result<std::string> text = ReadFile(path, kNoteBytesMax);
    if (!text.ok() || ::stat(path.c_str(), &st) != 0) continue;  // replaced or removed while we look
    WallTime time(std::chrono::seconds(st.st_mtim.tv_sec) + std::chrono::microseconds(st.st_mtim.tv_nsec / 1000));
    notes.push_back({name, time, std::move(*text)});
  }
  return notes;
}

}  // namespace runnel::bus::file
