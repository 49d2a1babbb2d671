#include "ltx/format/compactor.h"

#include <algorithm>
#include <string>

#include "ltx/base/check.h"

namespace runnel::ltx {
namespace {

std::string NameOf(const Header& header) { return FileName(header.min_txid, header.max_txid); }

Status CheckNeighbours(const Header& older, const Header& newer) {
  const std::string names = NameOf(older) + ", then " + NameOf(newer) + ": ";
  if (older.page_size != newer.page_size) return Error(Errc::kInvalid, names + "another page size");
  if (newer.max_txid <= older.max_txid) return Error(Errc::kInvalid, names + "not newer");
  if (newer.min_txid.Previous() > older.max_txid) return Error(Errc::kGap, names + "txids are missing in between");
  return Ok();
}

}  // namespace

class Merger::Impl {
 public:
  enum class State { kNew, kPages, kTail, kDead };

  explicit Impl(std::span<ByteSource* const> sources) {
    CHECK(!sources.empty(), "something to merge");
    inputs_.reserve(sources.size());
    for (ByteSource* source : sources) inputs_.emplace_back(*source);
  }

  Result<Header> ReadHeaders();
  Result<std::optional<Page>> NextPage();
  Result<Checksum> CheckAll() const;

  State state = State::kNew;

 private:
  struct Input {
    explicit Input(ByteSource& source) : decoder(std::in_place, source) {}
    std::optional<Decoder> decoder;  // gone once the file has been verified to its end
    Header header;
    Page page;  // where it stands
    Trailer trailer;
  };
  struct Head {
    uint32_t pgno;
    uint32_t input;
    // Order of a max-heap: the smallest page number is on top, and of equal ones the newest input.
    bool operator<(const Head& other) const { return pgno != other.pgno ? pgno > other.pgno : input < other.input; }
  };

  Status Advance(uint32_t index);
  Status CheckSnapshotPage(const Page& page);

  std::vector<Input> inputs_;
  std::vector<Head> heads_;         // a heap: one for each input that has a page to offer
  std::vector<uint32_t> consumed_;  // inputs whose page has been yielded or superseded
  Header header_;
  Pgno last_pgno_;
  bool sums_ = false;  // whether the result's pages must add up to its post-apply checksum
  Checksum sum_ = Checksum::Empty();
};

Result<Header> Merger::Impl::ReadHeaders() {
  for (uint32_t i = 0; i < inputs_.size(); ++i) {
    TRY_ASSIGN(inputs_[i].header, inputs_[i].decoder->Begin());
    if (i > 0) TRY(CheckNeighbours(inputs_[i - 1].header, inputs_[i].header));
  }
  const Header& first = inputs_.front().header;
  const Header& last = inputs_.back().header;
  header_.page_size = first.page_size;
  header_.commit = last.commit;
  header_.min_txid = first.min_txid;
  header_.max_txid = last.max_txid;
  header_.timestamp_ms = last.timestamp_ms;
  header_.no_checksum = last.no_checksum || (first.no_checksum && !first.IsSnapshot());
  if (!header_.no_checksum) header_.pre_apply_checksum = first.pre_apply_checksum;
  sums_ = header_.IsSnapshot() && !header_.no_checksum;
  for (uint32_t i = 0; i < inputs_.size(); ++i) consumed_.push_back(i);
  return header_;
}

Status Merger::Impl::Advance(uint32_t index) {
  Input& input = inputs_[index];
  TRY_ASSIGN(std::optional<Page> page, input.decoder->Next());
  if (page) {
    input.page = *page;
    heads_.push_back({page->pgno.raw(), index});
    std::push_heap(heads_.begin(), heads_.end());
    return Ok();
  }
  TRY_ASSIGN(input.trailer, input.decoder->Finish());
  input.decoder.reset();
  return Ok();
}

Status Merger::Impl::CheckSnapshotPage(const Page& page) {
  Pgno expected = last_pgno_.Next();
  if (expected == LockPage(header_.page_size)) expected = expected.Next();
  if (page.pgno != expected) {
    return Error(Errc::kCorrupt,
                 NameOf(header_) + ": page " + std::to_string(expected.raw()) + " is in none of the inputs");
  }
  if (sums_) sum_ = sum_.Toggle(PageChecksum(page.pgno, page.data));
  return Ok();
}

Result<std::optional<Page>> Merger::Impl::NextPage() {
  while (true) {
    for (uint32_t index : consumed_) {
      if (Status advanced = Advance(index); !advanced.ok()) return advanced.error().With(NameOf(inputs_[index].header));
    }
    consumed_.clear();
    if (heads_.empty()) break;
    const Head newest = heads_.front();
    while (!heads_.empty() && heads_.front().pgno == newest.pgno) {
      consumed_.push_back(heads_.front().input);
      std::pop_heap(heads_.begin(), heads_.end());
      heads_.pop_back();
    }
    if (newest.pgno > header_.commit) continue;
    const Page& page = inputs_[newest.input].page;
    if (header_.IsSnapshot()) TRY(CheckSnapshotPage(page));
    last_pgno_ = page.pgno;
    return std::optional<Page>(page);
  }
  if (header_.IsSnapshot() && last_pgno_ != header_.LastPage()) {
    return Error(Errc::kCorrupt, NameOf(header_) + ": ends with page " + std::to_string(last_pgno_.raw()) + " of " +
                                     std::to_string(header_.commit));
  }
  return std::optional<Page>();
}

Result<Checksum> Merger::Impl::CheckAll() const {
  for (size_t i = 1; i < inputs_.size(); ++i) {
    const Header& older = inputs_[i - 1].header;
    const Header& newer = inputs_[i].header;
    const bool comparable = !older.no_checksum && !newer.no_checksum && newer.min_txid == older.max_txid.Next();
    const Checksum post = inputs_[i - 1].trailer.post_apply_checksum;
    if (comparable && newer.pre_apply_checksum != post) {
      return Error(Errc::kCorrupt, NameOf(newer) + ": pre-apply checksum " + ToString(newer.pre_apply_checksum) +
                                       " after " + ToString(post));
    }
  }
  if (header_.no_checksum) return Checksum();
  const Checksum post = inputs_.back().trailer.post_apply_checksum;
  if (sums_ && sum_ != post) {
    return Error(Errc::kCorrupt,
                 NameOf(header_) + ": pages add up to " + ToString(sum_) + " instead of " + ToString(post));
  }
  return post;
}

Merger::Merger(std::span<ByteSource* const> inputs) : impl_(std::make_unique<Impl>(inputs)) {}
Merger::~Merger() = default;

Result<Header> Merger::Begin() {
  if (impl_->state != Impl::State::kNew) return Error(Errc::kInvalid, "ltx merger: Begin out of order");
  impl_->state = Impl::State::kDead;
  TRY_ASSIGN(Header header, impl_->ReadHeaders());
  impl_->state = Impl::State::kPages;
  return header;
}

Result<std::optional<Page>> Merger::Next() {
  if (impl_->state != Impl::State::kPages) return Error(Errc::kInvalid, "ltx merger: Next out of order");
  impl_->state = Impl::State::kDead;
  TRY_ASSIGN(std::optional<Page> page, impl_->NextPage());
  impl_->state = page ? Impl::State::kPages : Impl::State::kTail;
  return page;
}

Result<Checksum> Merger::Finish() {
  if (impl_->state != Impl::State::kTail) return Error(Errc::kInvalid, "ltx merger: Finish out of order");
  impl_->state = Impl::State::kDead;
  return impl_->CheckAll();
}

Result<Compacted> Compact(std::span<ByteSource* const> inputs, ByteSink& sink, ChecksumMode mode) {
  Merger merger(inputs);
  Compacted result;
  TRY_ASSIGN(result.header, merger.Begin());
  if (mode == ChecksumMode::kKeep && result.header.no_checksum) {
    return Error(Errc::kInvalid, NameOf(result.header) + ": the inputs do not track checksums");
  }
  if (mode == ChecksumMode::kDrop) {
    result.header.no_checksum = true;
    result.header.pre_apply_checksum = Checksum();
  }
  Encoder encoder(sink);
  TRY(encoder.Begin(result.header));
  while (true) {
    TRY_ASSIGN(std::optional<Page> page, merger.Next());
    if (!page) break;
    TRY(encoder.AddPage(page->pgno, page->data));
  }
  TRY_ASSIGN(Checksum post_apply_checksum, merger.Finish());
  TRY_ASSIGN(result.trailer, encoder.Finish(post_apply_checksum));
  result.bytes = encoder.bytes_written();
  return result;
}

}  // namespace runnel::ltx
