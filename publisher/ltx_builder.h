// From the frames of a commit to its LTX file: each page's newest bytes, the checksums before and after from the
// ledger. One pass, memory of one page (plus 12 bytes a page for the in-flight record), whatever the commit's size.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "ltx/base/result.h"
#include "ltx/format/encoder.h"
#include "publisher/capture_types.h"
#include "publisher/page_ledger.h"

namespace runnel::publisher {

// What one LTX is to hold. Several commits become one (a range) by Merge below.
struct LtxSpec {
  Txid min_txid;
  Txid max_txid;
  Checksum pre_apply_checksum;  // 0 for a snapshot
  // Of the image after it, where the caller knows it (an image compared page by page); else it is computed from the
  // ledger.
  std::optional<Checksum> post_apply_checksum;
  std::chrono::sys_time<std::chrono::microseconds> captured_at;
  uint64_t node_id = 0;
};

struct BuiltLtx {
  InflightCommit commit;  // to push into the ledger
  uint64_t file_checksum = 0;
  uint64_t ltx_bytes = 0;
};

// Bytes of a page, valid until the next call.
using PageReader = std::function<Result<Bytes>(const PageSource&)>;

// Adds the frames of the commit behind `older` to it: the newest source of each page wins, pages beyond the new size
// leave. REQUIRES: both from one WAL generation, `newer` behind `older`.
void Merge(CommitFrames& older, CommitFrames newer);

class LtxBuilder {
 public:
  explicit LtxBuilder(PageSize page_size) : page_size_(page_size), encoder_(sink_) {}

  // Writes the LTX of `frames` to `sink`. The ledger is not changed. Errors: the reader's and the sink's, as they are.
  Result<BuiltLtx> Build(const LtxSpec& spec, const CommitFrames& frames, const PageLedger& ledger,
                         const PageReader& read_page, ltx::ByteSink& sink);

 private:
  // Lets one encoder be reused over many sinks without allocating.
  class ForwardingSink : public ltx::ByteSink {
   public:
    Status Write(Bytes bytes) override { return target->Write(bytes); }
    ltx::ByteSink* target = nullptr;
  };

  PageSize page_size_;
  ForwardingSink sink_;
  ltx::Encoder encoder_;
};

}  // namespace runnel::publisher
