// libFuzzer entry for the LTX decoder and the index reader. Seeds: tests/golden/ltx. File checksums would keep a fuzzer
// out of everything behind them, so a file that is wrong in its checksum alone is tried with the right one.
//
// Checked beyond "no crash": what decodes is written back with the same pages, random access sees the same pages, and
// so does a decoder that gets the file in pieces.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "ltx/base/check.h"
#include "ltx/format/decoder.h"
#include "ltx/format/encoder.h"
#include "ltx/format/index_reader.h"

namespace {

using namespace runnel;
using namespace runnel::ltx;

struct File {
  Header header;
  std::map<Pgno, std::string> pages;
  Trailer trailer;
};

// The same bytes as they come over a bus: in pieces.
class Pieces : public ByteSource {
 public:
  explicit Pieces(Bytes bytes) : rest_(bytes) {}
  Result<size_t> Read(MutableBytes out) override {
    const size_t size = std::min({out.size(), rest_.size(), size_t{61}});
    std::copy(rest_.begin(), rest_.begin() + static_cast<std::ptrdiff_t>(size), out.begin());
    rest_ = rest_.subspan(size);
    return size;
  }

 private:
  Bytes rest_;
};

Result<File> DecodeFrom(ByteSource& source) {
  Decoder decoder(source);
  File file;
  TRY_ASSIGN(file.header, decoder.Begin());
  while (true) {
    TRY_ASSIGN(std::optional<Page> page, decoder.Next());
    if (!page) break;
    file.pages.emplace(page->pgno, AsText(page->data));
  }
  TRY_ASSIGN(file.trailer, decoder.Finish());
  return file;
}

Result<File> Decode(Bytes bytes) {
  BytesSource whole(bytes);
  Pieces pieces(bytes);
  Result<File> file = DecodeFrom(whole);
  Result<File> again = DecodeFrom(pieces);
  CHECK(file.ok() == again.ok(), "in memory and in pieces a file is the same");
  CHECK(!file.ok() || file->pages == again->pages, "in memory and in pieces the pages are the same");
  return file;
}

// The decoder's message names the checksum it computed.
std::string WithRightChecksum(Bytes bytes) {
  std::string text(AsText(bytes));
  Result<File> file = Decode(bytes);
  if (file.ok() || text.size() < kFileBytesMin) return text;
  constexpr std::string_view kInstead = " instead of ";
  const std::string& message = file.error().message();
  const size_t at = message.rfind(kInstead);
  if (message.find("file checksum") == std::string::npos || at == std::string::npos) return text;
  std::optional<Checksum> right = ParseChecksum(std::string_view(message).substr(at + kInstead.size()));
  CHECK(right.has_value(), message);
  text.resize(text.size() - 8);
  AppendBe64(text, right->raw());
  return text;
}

void CheckSameThroughEncoder(const File& file) {
  StringSink sink;
  Encoder encoder(sink);
  CHECK(encoder.Begin(file.header).ok(), "what was read can be written");
  for (const auto& [pgno, data] : file.pages) CHECK(encoder.AddPage(pgno, AsBytes(data)).ok(), "page");
  CHECK(encoder.Finish(file.trailer.post_apply_checksum).ok(), "trailer");
  const std::string bytes = sink.Take();
  Result<File> back = Decode(AsBytes(bytes));
  CHECK(back.ok(), "what was written can be read");
  CHECK(back->header == file.header, "header");
  CHECK(back->pages == file.pages, "pages");
}

void CheckSameThroughIndex(const File& file, IndexReader& reader) {
  CHECK(reader.frames().size() == file.pages.size(), "every page is in the index");
  std::string page(file.header.page_size.raw(), '\0');
  for (const auto& [pgno, data] : file.pages) {
    std::optional<IndexReader::Frame> frame = reader.Find(pgno);
    CHECK(frame.has_value(), "found");
    CHECK(reader.ReadPage(*frame, {reinterpret_cast<std::byte*>(page.data()), page.size()}).ok(), "readable");
    CHECK(page == data, "the same page");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string bytes = WithRightChecksum({reinterpret_cast<const std::byte*>(data), size});
  Result<File> file = Decode(AsBytes(bytes));
  RandomBytesSource source(AsBytes(bytes));
  Result<IndexReader> reader = IndexReader::Open(source);
  if (file.ok()) {
    CheckSameThroughEncoder(*file);
    CHECK(reader.ok(), "a sound file has a sound index");
    CheckSameThroughIndex(*file, *reader);
  } else if (reader.ok()) {
    std::string page(reader->header().page_size.raw(), '\0');
    for (const IndexReader::Frame& frame : reader->frames()) {
      (void)reader->ReadPage(frame, {reinterpret_cast<std::byte*>(page.data()), page.size()}).ok();
    }
  }
  return 0;
}
