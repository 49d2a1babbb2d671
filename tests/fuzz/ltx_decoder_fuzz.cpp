// libFuzzer entry for the LTX decoder and the index reader. Seeds: tests/golden/ltx. File checksums would keep a fuzzer
// out of everything behind them, so a file that is wrong in its checksum alone is tried with the right one.
//
// Checked beyond "no crash": what decodes is written back with the same pages, and random access sees the same pages.
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

Result<File> Decode(Bytes bytes) {
  BytesSource source(bytes);
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
