// The directory "<replica>-runnel" beside a replica: lock, position, pages. They keep mode and owner of the replica
// file.
#pragma once

#include <memory>
#include <string>

#include "ltx/base/result.h"

namespace runnel::replica {

class SideFiles {
 public:
  // Makes the directory if it is missing.
  // Errors: kRefused naming the process that has this replica; kIo.
  static Result<std::unique_ptr<SideFiles>> Lock(const std::string& replica_path);
  ~SideFiles();
  SideFiles(const SideFiles&) = delete;
  SideFiles& operator=(const SideFiles&) = delete;

  std::string position() const { return directory_ + "/position"; }
  std::string pages() const { return directory_ + "/pages"; }
  std::string new_pages() const { return directory_ + "/pages.new"; }
  std::string new_image() const { return directory_ + "/image.new"; }

  // Gives all files the mode and owner of `model` (owner only where we may).
  void MatchOwner(const std::string& model) const;

 private:
  explicit SideFiles(std::string directory) : directory_(std::move(directory)) {}

  const std::string directory_;
  int lock_fd_ = -1;
};

// fsync of a directory, so that renames in it survive power loss.
Status SyncDirectory(const std::string& path);
std::string DirectoryOf(const std::string& path);

}  // namespace runnel::replica
