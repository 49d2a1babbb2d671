// A directory of one test: made under $TMPDIR (else /tmp), removed with all it holds when the object goes.
// RUNNEL_KEEP_TMP=1 keeps it and prints its path, to look at what a failed test left behind.
#pragma once

#include <filesystem>
#include <string_view>

namespace runnel::testing {

class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(std::string_view name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

}  // namespace runnel::testing
