// Where the pages of a database image go.
#pragma once

#include "ltx/base/bytes.h"
#include "ltx/base/result.h"
#include "ltx/format/types.h"

namespace runnel::restore {

// THREAD: Start before any Write; Write from any, for different pages at once.
class ImageSink {
 public:
  virtual ~ImageSink() = default;

  // How large the image will be. Errors: kExhausted when there is no room for it.
  virtual Status Start(PageSize page_size, uint32_t page_count) = 0;
  // Whole pages, one behind the other from `first` on.
  virtual Status Write(Pgno first, Bytes pages) = 0;
};

}  // namespace runnel::restore
