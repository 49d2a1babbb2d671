#include "publisher/capture_types.h"

#include <algorithm>

namespace runnel::publisher {

void KeepNewest(std::vector<PageSource>& pages) {
  std::sort(pages.begin(), pages.end(), [](const PageSource& a, const PageSource& b) {
    return a.pgno != b.pgno ? a.pgno < b.pgno : a.frame > b.frame;
  });
  auto same_page = [](const PageSource& a, const PageSource& b) { return a.pgno == b.pgno; };
  pages.erase(std::unique(pages.begin(), pages.end(), same_page), pages.end());
}

}  // namespace runnel::publisher
