#include "subscriber/archive/store/dir_list.h"

#include <algorithm>
#include <cerrno>
#include <vector>

#include <fmt/format.h>

#include "ltx/base/fs.h"

namespace runnel::store {
namespace {

// Deeper trees than any key can name (900 bytes, two a part) would be links in a circle.
constexpr int kDepthMax = 450;

struct Entry {
  std::string name;  // a folder's ends in '/', so that names sort as the keys below them do ("a.b" < "a/b" < "a0")
  struct stat info = {};
};

class Walk {
 public:
  Walk(const std::string& root, const ListOptions& options) : root_(root), options_(options) {}

  // Adds the objects of the folder ("" or "a/b/") to the page, in order. Returns when the page is full and one more was
  // seen.
  Status Folder(const std::string& folder, int depth) {
    const Result<std::vector<Entry>> entries = Read(folder);
    if (!entries.ok()) return entries.code() == Errc::kNotFound ? Ok() : Status(entries.error());
    for (const Entry& entry : *entries) {
      if (page_.more) return Ok();
      const std::string key = folder + entry.name;
      if (!key.ends_with('/')) {
        TakeFile(key, entry.info);
      } else if (MayHold(key) && depth < kDepthMax) {
        TRY(Folder(key, depth + 1));
      }
    }
    return Ok();
  }

  ListPage& page() { return page_; }

 private:
  Result<std::vector<Entry>> Read(const std::string& folder) {
    TRY_ASSIGN(const std::vector<std::string> names, ListDir(root_ + "/" + folder));
    std::vector<Entry> entries;
    for (const std::string& name : names) {
      if (folder.empty() && name == kTempFolder) continue;
      const std::string key = folder + name;
      // Most names of a large folder lie outside of the page: they need no stat. A folder's name may still be a prefix.
      const bool skip = key <= options_.start_after && !options_.start_after.starts_with(key + "/");
      if (skip && key + "/" <= options_.start_after) continue;
      Entry entry;
      if (::stat((root_ + "/" + key).c_str(), &entry.info) != 0) {
        if (errno == ENOENT || errno == ELOOP) continue;  // deleted meanwhile, or a broken link
        return ErrnoError(errno, fmt::format("stat {}/{}", root_, key));
      }
      if (!S_ISREG(entry.info.st_mode) && !S_ISDIR(entry.info.st_mode)) continue;
      entry.name = S_ISDIR(entry.info.st_mode) ? name + "/" : name;
      entries.push_back(std::move(entry));
    }
    std::ranges::sort(entries, {}, &Entry::name);
    return entries;
  }

  // Whether a key below `folder` can be in the page.
  bool MayHold(const std::string& folder) const {
    const size_t common = std::min(folder.size(), options_.prefix.size());
    if (folder.compare(0, common, options_.prefix, 0, common) != 0) return false;
    return folder > options_.start_after || options_.start_after.starts_with(folder);
  }

  void TakeFile(const std::string& key, const struct stat& info) {
    if (key <= options_.start_after || !key.starts_with(options_.prefix)) return;
    if (page_.objects.size() == options_.count_max) {
      page_.more = true;
    } else {
      page_.objects.push_back(InfoOf(key, info));
    }
  }

  const std::string& root_;
  const ListOptions& options_;
  ListPage page_;
};

}  // namespace

timespec ToTimespec(WallTime time) {
  const auto seconds = std::chrono::floor<std::chrono::seconds>(time);
  timespec result = {};
  result.tv_sec = static_cast<time_t>(seconds.time_since_epoch().count());
  result.tv_nsec = static_cast<long>(std::chrono::nanoseconds(time - seconds).count());
  return result;
}

// The inode alone is not enough: a freed number is given to the next file.
std::string VersionOf(const struct stat& info) {
  return fmt::format("{:x}-{:x}.{:x}-{:x}.{:x}-{:x}", info.st_ino, info.st_ctim.tv_sec, info.st_ctim.tv_nsec,
                     info.st_mtim.tv_sec, info.st_mtim.tv_nsec, info.st_size);
}

ObjectInfo InfoOf(std::string key, const struct stat& info) {
  ObjectInfo object;
  object.key = std::move(key);
  object.size = static_cast<uint64_t>(info.st_size);
  object.version = VersionOf(info);
  object.modified =
      WallTime(std::chrono::seconds(info.st_mtim.tv_sec) +
               std::chrono::floor<std::chrono::microseconds>(std::chrono::nanoseconds(info.st_mtim.tv_nsec)));
  object.timestamp = object.modified;
  return object;
}

Result<ListPage> ListDirectory(const std::string& root, const ListOptions& options) {
  Walk walk(root, options);
  TRY(walk.Folder("", 0));
  return std::move(walk.page());
}

}  // namespace runnel::store
