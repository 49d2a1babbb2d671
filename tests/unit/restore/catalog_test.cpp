// An archive that Litestream wrote, restored to each TXID that its files lead to; and what is said of those they do
// not.
#include <gtest/gtest.h>

#include <filesystem>
#include <map>

#include "subscriber/archive/store/open.h"
#include "subscriber/restore/assembler.h"
#include "subscriber/restore/catalog.h"
#include "subscriber/restore/output_file.h"
#include "tests/support/temp_dir.h"

namespace runnel::restore {
namespace {

constexpr uint64_t kBlockBytes = 1 << 20;

class LitestreamArchive : public ::testing::Test {
 protected:
  LitestreamArchive() {
    std::filesystem::copy(RUNNEL_GOLDEN_LTX "/litestream-0.5.18", dir_ / "ltx",
                          std::filesystem::copy_options::recursive);
    store_ = *store::OpenStore("file://" + dir_.path().string());
  }
  Result<Catalog> Load() { return Catalog::Load(*store_, *archive::Layout::ForScheme("file")); }
  Result<AssembledImage> Restore(const Catalog& catalog, Txid txid) {
    TRY_ASSIGN(const ArchivePlan plan, catalog.Plan(txid, kBlockBytes));
    TRY_ASSIGN(const std::unique_ptr<OutputFile> output, OutputFile::Create((dir_ / "out.db").string()));
    AssembleOptions options;
    options.fetch.block_bytes = kBlockBytes;
    return Assemble(*store_, plan.pieces, *output, options, {});
  }

  testing::TempDir dir_;
  std::unique_ptr<store::ObjectStore> store_;
};

// The checksums are those of the images that Litestream itself restored.
TEST_F(LitestreamArchive, IsRestoredToEachTxid) {
  const Result<Catalog> catalog = Load();
  ASSERT_TRUE(catalog.ok()) << catalog.error().message();
  EXPECT_EQ(catalog->Newest(), Txid(0x24));
  const std::map<uint64_t, const char*> expected = {{0x23, "e40ae34104cb4966"}, {0x24, "de43957dd4b28a2f"}};
  for (uint64_t txid : {0x3, 0x5, 0xc, 0x1c, 0x20, 0x21, 0x22, 0x23, 0x24}) {
    const Result<AssembledImage> image = Restore(*catalog, Txid(txid));
    ASSERT_TRUE(image.ok()) << txid << ": " << image.error().message();
    EXPECT_EQ(image->position.txid, Txid(txid));
    EXPECT_FALSE(image->proven);
    if (expected.contains(txid)) {
      EXPECT_EQ(ToString(image->position.checksum), expected.at(txid));
    }
  }
}

TEST_F(LitestreamArchive, NamesTheNeighboursOfWhatItCannotReach) {
  const Result<Catalog> catalog = Load();
  ASSERT_TRUE(catalog.ok());
  const Result<ArchivePlan> plan = catalog->Plan(Txid(0xd), kBlockBytes);
  ASSERT_FALSE(plan.ok());
  EXPECT_EQ(plan.code(), Errc::kNotFound);
  EXPECT_NE(plan.error().message().find("000000000000000c is the nearest before it, 000000000000001c the next"),
            std::string::npos)
      << plan.error().message();
}

TEST_F(LitestreamArchive, IsRestoredToTheNewestFileOfATime) {
  using std::filesystem::last_write_time;
  const auto now = std::filesystem::file_time_type::clock::now();
  for (const auto& entry : std::filesystem::recursive_directory_iterator(dir_ / "ltx")) {
    if (!entry.is_regular_file()) continue;
    const uint64_t txid = ParseTxid(entry.path().stem().string().substr(17))->raw();
    last_write_time(entry.path(), now - std::chrono::hours(100) + std::chrono::hours(txid));
  }
  Result<Catalog> catalog = Load();
  ASSERT_TRUE(catalog.ok());
  const WallTime start = std::chrono::floor<std::chrono::microseconds>(SystemClock().Wall()) - std::chrono::hours(100);
  for (auto [hour, txid] : std::map<int, uint64_t>{{0x23, 0x23}, {0x22, 0x22}, {0x1e, 0x1c}, {0xb, 0x5}, {99, 0x24}}) {
    const Result<Txid> at = catalog->NewestAt(start + std::chrono::hours(hour) + std::chrono::minutes(1));
    ASSERT_TRUE(at.ok()) << hour << ": " << at.error().message();
    EXPECT_EQ(*at, Txid(txid)) << hour;
  }
  EXPECT_EQ(catalog->NewestAt(start).code(), Errc::kNotFound);
}

TEST_F(LitestreamArchive, IsNotFoundWhereNothingLies) {
  testing::TempDir empty;
  std::unique_ptr<store::ObjectStore> store = *store::OpenStore("file://" + empty.path().string());
  EXPECT_EQ(Catalog::Load(*store, *archive::Layout::ForScheme("file")).code(), Errc::kNotFound);
}

}  // namespace
}  // namespace runnel::restore
