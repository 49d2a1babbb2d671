// The engine on real directories: what comes out, and that nothing damaged does.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <set>

#include "ltx/base/fs.h"
#include "subscriber/archive/store/open.h"
#include "subscriber/restore/assembler.h"
#include "tests/support/ltx_spec.h"
#include "tests/support/temp_dir.h"

namespace runnel::restore {
namespace {

using testing::Image;
using testing::LtxSpec;

// Keeps pages in memory; many threads at once.
class MemorySink : public ImageSink {
 public:
  Status Start(PageSize page_size, uint32_t page_count) override {
    page_bytes_ = page_size.raw();
    bytes_.resize(uint64_t{page_count} * page_bytes_);
    return Ok();
  }
  Status Write(Pgno first, Bytes pages) override {
    EXPECT_LE((first.raw() - 1) * page_bytes_ + pages.size(), bytes_.size());
    std::memcpy(bytes_.data() + (first.raw() - 1) * page_bytes_, pages.data(), pages.size());
    written_ += pages.size();
    return Ok();
  }
  const std::string& bytes() const { return bytes_; }
  uint64_t written() const { return written_; }

 private:
  uint64_t page_bytes_ = 0;
  std::string bytes_;
  std::atomic<uint64_t> written_{0};
};

// A history of one database as LTX files in a directory.
class History : public ::testing::Test {
 protected:
  void Begin(uint32_t page_size, uint32_t page_count, bool tracked) {
    tracked_ = tracked;
    image_.page_size = page_size;
    std::map<uint32_t, std::string> pages;
    for (uint32_t pgno = 1; pgno <= page_count; ++pgno) pages[pgno] = RandomPage();
    Add(pages, page_count);
  }
  std::string RandomPage() {
    std::string page(image_.page_size, static_cast<char>(random_()));
    for (size_t i = 0; i < page.size() / 3; ++i) page[i] = static_cast<char>(random_());
    return page;
  }
  void Add(const std::map<uint32_t, std::string>& changes, uint32_t commit) {
    LtxSpec spec = image_.Change(++txid_, changes, commit);
    image_.Apply(spec);
    if (!tracked_) {
      spec.header.no_checksum = true;
      spec.header.pre_apply_checksum = Checksum();
      spec.trailer.post_apply_checksum = Checksum();
    }
    const std::string file = ToBytes(spec);
    const std::string key = "ltx/0/" + ltx::FileName(Txid(txid_), Txid(txid_));
    ASSERT_TRUE(store_->Put(key, AsBytes(file)).ok());
    Part part{0, file.size(), Txid(txid_), Txid(txid_), std::nullopt};
    pieces_.insert(pieces_.begin(), {key, 0, file.size(), {part}});
  }
  void AddRandom() {
    const auto size = static_cast<uint32_t>(image_.pages.size());
    uint32_t commit = size;
    if (random_() % 4 == 0) commit = static_cast<uint32_t>(1 + random_() % (size + 20));
    std::map<uint32_t, std::string> changes;
    for (uint32_t pgno = size + 1; pgno <= commit; ++pgno) changes[pgno] = RandomPage();
    for (int i = 0; i < 3; ++i) changes[static_cast<uint32_t>(1 + random_() % commit)] = RandomPage();
    Add(changes, commit);
  }
  std::string Expected() const {
    std::string bytes;
    for (const std::string& page : image_.pages) bytes += page;
    return bytes;
  }
  Result<AssembledImage> Run(MemorySink& sink, uint64_t block_bytes = 1 << 20) {
    AssembleOptions options;
    options.fetch.block_bytes = block_bytes;
    options.fetch.blocks_max = 3;
    options.keep_checksums = true;
    return Assemble(*store_, pieces_, sink, options, {});
  }
  void Overwrite(const Piece& piece, const std::string& bytes) const {
    std::ofstream(PathOf(piece), std::ios::binary | std::ios::trunc) << bytes;
  }
  std::string PathOf(const Piece& piece) const { return dir_.path().string() + "/" + piece.key; }

  testing::TempDir dir_;
  std::unique_ptr<store::ObjectStore> store_ = *store::OpenStore("file://" + dir_.path().string());
  std::mt19937_64 random_{5};
  Image image_;
  uint64_t txid_ = 0;
  bool tracked_ = false;
  std::vector<Piece> pieces_;
};

TEST_F(History, ComesOutAsItsLastImageWhateverTheBlocks) {
  for (bool tracked : {false, true}) {
    for (uint32_t page_size : {512u, 4096u, 65536u}) {
      pieces_.clear();
      image_ = Image();
      txid_ = 0;
      Begin(page_size, 40, tracked);
      for (int i = 0; i < 30; ++i) AddRandom();
      for (uint64_t block_bytes : {uint64_t{1} << 20, uint64_t{9001}, uint64_t{333}}) {
        if (block_bytes < page_size / 16) continue;
        MemorySink sink;
        Result<AssembledImage> made = Run(sink, block_bytes);
        ASSERT_TRUE(made.ok()) << made.error().message();
        EXPECT_EQ(sink.bytes(), Expected()) << page_size << " by " << block_bytes;
        EXPECT_EQ(sink.written(), Expected().size()) << "each page once";
        EXPECT_EQ(made->position, (Position{Txid(31), image_.Sum()}));
        EXPECT_EQ(made->proven, tracked);
        Checksum sum = Checksum::Empty();
        for (Checksum checksum : made->checksums) sum = sum.Toggle(checksum);
        EXPECT_EQ(sum, image_.Sum());
      }
    }
  }
}

TEST_F(History, IsRefusedWhenAFileIsMissing) {
  Begin(512, 10, false);
  for (int i = 0; i < 5; ++i) AddRandom();
  const std::vector<Piece> all = pieces_;
  for (size_t i = 1; i < all.size(); ++i) {
    pieces_ = all;
    pieces_.erase(pieces_.begin() + static_cast<std::ptrdiff_t>(i));
    MemorySink sink;
    Result<AssembledImage> made = Run(sink);
    ASSERT_FALSE(made.ok()) << i;
    EXPECT_EQ(made.code(), Errc::kGap) << made.error().message();
  }
}

TEST_F(History, IsRefusedWhenAFileIsCut) {
  Begin(512, 10, false);
  for (int i = 0; i < 3; ++i) AddRandom();
  for (const Piece& piece : pieces_) {
    const std::string file = *ReadFile(PathOf(piece), 1 << 20);
    for (size_t size = 0; size < file.size(); size += 1 + size / 4) {
      std::filesystem::resize_file(PathOf(piece), size);
      MemorySink sink;
      Result<AssembledImage> made = Run(sink);
      ASSERT_FALSE(made.ok()) << piece.key << " cut to " << size;
      EXPECT_EQ(made.code(), Errc::kCorrupt) << made.error().message();
    }
    Overwrite(piece, file);
  }
}

TEST_F(History, IsRefusedWhenAFileIsSaidToBeEmpty) {
  Begin(512, 10, false);
  AddRandom();
  pieces_.front().bytes = pieces_.front().parts.front().bytes = 0;
  MemorySink sink;
  Result<AssembledImage> made = Run(sink);
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.code(), Errc::kCorrupt);
}

// Compressed bytes that decompress to the same page are the one thing that a flipped bit may leave unseen.
TEST_F(History, IsRefusedOrUnharmedWhenABitIsFlipped) {
  Begin(512, 4, false);
  for (int i = 0; i < 2; ++i) AddRandom();
  size_t unharmed = 0;
  size_t refused = 0;
  for (const Piece& piece : pieces_) {
    std::string file = *ReadFile(PathOf(piece), 1 << 20);
    for (size_t bit = 0; bit < file.size() * 8; bit += 43) {
      file[bit / 8] = static_cast<char>(file[bit / 8] ^ (1 << bit % 8));
      Overwrite(piece, file);
      MemorySink sink;
      Result<AssembledImage> made = Run(sink);
      ++(made.ok() ? unharmed : refused);
      if (made.ok()) {
        ASSERT_EQ(sink.bytes(), Expected()) << piece.key << " bit " << bit;
      }
      file[bit / 8] = static_cast<char>(file[bit / 8] ^ (1 << bit % 8));
    }
    Overwrite(piece, file);
  }
  EXPECT_GT(refused, 100 * std::max<size_t>(unharmed, 1));
}

TEST_F(History, IsRefusedWhenTheImageIsNotTheOneNoted) {
  Begin(4096, 10, false);
  AddRandom();
  pieces_.front().parts.front().checksum = image_.Sum();
  MemorySink sink;
  Result<AssembledImage> made = Run(sink);
  ASSERT_TRUE(made.ok()) << made.error().message();
  EXPECT_TRUE(made->proven);
  pieces_.front().parts.front().checksum = image_.Sum().Toggle(Checksum(1));
  made = Run(sink);
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.code(), Errc::kCorrupt);
}

TEST_F(History, IsNotStartedForASizeThatNoFileCanHold) {
  Begin(512, 4, false);
  LtxSpec spec = testing::Range(512, 2, 2, {{1, RandomPage()}});
  spec.header.commit = 4'000'000'000;
  const std::string file = ToBytes(spec);
  ASSERT_TRUE(store_->Put("huge", AsBytes(file)).ok());
  pieces_.insert(pieces_.begin(), {"huge", 0, file.size(), {Part{0, file.size(), Txid(2), Txid(2), std::nullopt}}});
  MemorySink sink;
  Result<AssembledImage> made = Run(sink);
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.code(), Errc::kCorrupt);
}

}  // namespace
}  // namespace runnel::restore
