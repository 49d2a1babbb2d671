// Where the way down a tree ends that is the same on both sides of a commit: pages of the commit, and cells of other
// pages whose overflow chain is marked. Found by the walk that checks the trees (map_walk.h), for the diff to begin at
// (tree_diff.h), in the order of the tree.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ltx/format/types.h"

namespace runnel::feed {

struct Spot {
  static constexpr uint32_t kWholePage = UINT32_MAX;

  Pgno pgno;
  uint32_t cell = kWholePage;  // of an unchanged page; or: the page is in the commit
};

// THREAD: one.
class Spots {
 public:
  void StartTree(Pgno root) { trees_.push_back({root, spots_.size()}); }
  // REQUIRES: StartTree.
  void Add(const Spot& spot) { spots_.push_back(spot); }
  void Clear() {
    trees_.clear();
    spots_.clear();
  }

  // Of one tree; none if it was not walked. LIFETIME: until the next call that is not const.
  std::span<const Spot> Of(Pgno root) const {
    for (size_t i = 0; i < trees_.size(); ++i) {
      if (trees_[i].root != root) continue;
      const size_t end = i + 1 < trees_.size() ? trees_[i + 1].begin : spots_.size();
      return std::span(spots_).subspan(trees_[i].begin, end - trees_[i].begin);
    }
    return {};
  }

 private:
  struct Tree {
    Pgno root;
    size_t begin;
  };
  std::vector<Tree> trees_;
  std::vector<Spot> spots_;
};

}  // namespace runnel::feed
