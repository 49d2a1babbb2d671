// Scanner and frame decoders together must say of any bytes what the decoder says.
#include <gtest/gtest.h>

#include <random>

#include "ltx/format/frame_scanner.h"
#include "tests/support/ltx_spec.h"
#include "tests/unit/ltx/golden.h"

namespace runnel::ltx {
namespace {

using testing::FromBytes;
using testing::GoldenLtx;
using testing::GoldenLtxNames;
using testing::LtxSpec;
using testing::Range;
using testing::ToBytes;

// Reads a file in pieces of `step` bytes; every `unit` frames are summed up by themselves, as threads would.
Result<LtxSpec> Scan(std::string_view file, size_t step, size_t unit = 3) {
  LtxSpec spec;
  FrameScanner scanner;
  std::optional<FrameDecoder> decoder;
  FrameSum sum;
  for (size_t at = 0; at < file.size(); at += step) {
    scanner.Give(AsBytes(file.substr(at, step)));
    while (true) {
      TRY_ASSIGN(std::optional<FrameScanner::Frame> frame, scanner.Next());
      if (scanner.header() && !decoder) decoder.emplace(scanner.header()->page_size);
      if (!frame) break;
      std::string page(scanner.header()->page_size.raw(), '\0');
      TRY_ASSIGN(Checksum checksum, decoder->Decode(*frame, {reinterpret_cast<std::byte*>(page.data()), page.size()}));
      EXPECT_EQ(checksum, PageChecksum(frame->pgno, AsBytes(page)));
      spec.pages[frame->pgno.raw()] = std::move(page);
      if (spec.pages.size() % unit == 0) sum.Append(decoder->TakeSum());
    }
  }
  if (decoder) sum.Append(decoder->TakeSum());
  TRY_ASSIGN(spec.trailer, scanner.Finish(sum));
  spec.header = *scanner.header();
  return spec;
}

TEST(FrameScanner, ReadsEveryGoldenFileInPiecesOfAnySize) {
  for (const std::string& name : GoldenLtxNames()) {
    const std::string file = GoldenLtx(name);
    Result<LtxSpec> expected = FromBytes(file);
    ASSERT_TRUE(expected.ok()) << name;
    for (size_t step : {size_t{1}, size_t{7}, size_t{100}, size_t{4097}, file.size()}) {
      Result<LtxSpec> spec = Scan(file, step);
      ASSERT_TRUE(spec.ok()) << name << ": " << spec.error().message();
      EXPECT_EQ(*spec, *expected) << name << " by " << step;
    }
  }
}

TEST(FrameScanner, RefusesEveryTruncation) {
  for (const char* name : {"lit-512-checksum.ltx", "go-0.5.1-legacy-frames.ltx"}) {
    const std::string file = GoldenLtx(name);
    for (size_t size = 0; size < file.size(); ++size) {
      Result<LtxSpec> spec = Scan(std::string_view(file).substr(0, size), 64);
      ASSERT_FALSE(spec.ok()) << name << " cut to " << size;
      EXPECT_EQ(spec.code(), Errc::kCorrupt);
    }
    EXPECT_FALSE(Scan(file + '\0', 64).ok()) << name;
  }
}

TEST(FrameScanner, SaysOfEveryFlippedBitWhatTheDecoderSays) {
  for (const char* name : {"lit-512-checksum.ltx", "lit-512-inc-checksum.ltx", "go-0.5.1-legacy-frames.ltx"}) {
    std::string file = GoldenLtx(name);
    for (size_t bit = 0; bit < file.size() * 8; ++bit) {
      file[bit / 8] = static_cast<char>(file[bit / 8] ^ (1 << bit % 8));
      Result<LtxSpec> expected = FromBytes(file);
      Result<LtxSpec> spec = Scan(file, 61);
      // A snapshot's pages adding up to its post-apply checksum is the image's business, but here the file's sum says
      // it first.
      ASSERT_EQ(spec.ok(), expected.ok()) << name << " bit " << bit;
      if (spec.ok()) {
        EXPECT_EQ(*spec, *expected) << name << " bit " << bit;
      }
      file[bit / 8] = static_cast<char>(file[bit / 8] ^ (1 << bit % 8));
    }
  }
}

TEST(FrameScanner, ReadsFilesOfEveryPageSize) {
  std::mt19937_64 random(7);
  for (uint32_t page_size = 512; page_size <= 65536; page_size *= 2) {
    std::map<uint32_t, std::string> pages;
    for (uint32_t pgno = 1; pgno <= 40; ++pgno) {
      std::string page = testing::Page(page_size, static_cast<char>(pgno));
      for (size_t i = 0; i < random() % page_size; ++i) page[i] = static_cast<char>(random());
      pages[pgno] = page;
    }
    const LtxSpec spec = Range(page_size, 1, 9, pages);
    const std::string file = ToBytes(spec);
    for (size_t step : {size_t{333}, size_t{65537}}) {
      Result<LtxSpec> scanned = Scan(file, step, 5);
      ASSERT_TRUE(scanned.ok()) << scanned.error().message();
      EXPECT_EQ(scanned->pages, pages) << page_size;
    }
  }
}

TEST(JoinCrc64, IsTheSumOfBothPiecesAtOnce) {
  std::mt19937_64 random(11);
  std::string bytes(5000, '\0');
  for (char& c : bytes) c = static_cast<char>(random());
  Crc64 whole;
  whole.Update(AsBytes(bytes));
  for (size_t cut : {size_t{0}, size_t{1}, size_t{13}, size_t{4096}, bytes.size()}) {
    Crc64 first;
    Crc64 second;
    first.Update(AsBytes(bytes).first(cut));
    second.Update(AsBytes(bytes).subspan(cut));
    EXPECT_EQ(JoinCrc64(first.value(), second.value(), bytes.size() - cut), whole.value()) << cut;
  }
}

}  // namespace
}  // namespace runnel::ltx
