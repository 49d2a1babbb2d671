#include "subscriber/admit.h"

#include <gtest/gtest.h>

namespace runnel::subscriber {
namespace {

constexpr Checksum kOurs(0x80000000000000aa);
constexpr Checksum kOther(0x80000000000000bb);

struct Case {
  const char* what;
  uint64_t min_txid;
  uint64_t max_txid;
  Checksum pre;
  bus::Origin origin;
  Admission expected;
};

// We are at TXID 10 with checksum kOurs.
const Case kCases[] = {
    {"the next commit", 11, 11, kOurs, bus::Origin::kCommit, Admission::kNext},
    {"the next range", 11, 20, kOurs, bus::Origin::kRange, Admission::kNext},
    {"our own commit again", 10, 10, kOther, bus::Origin::kCommit, Admission::kDuplicate},
    {"an old snapshot", 1, 9, Checksum(), bus::Origin::kSnapshot, Admission::kDuplicate},
    {"a commit too far ahead", 12, 12, kOurs, bus::Origin::kCommit, Admission::kGap},
    {"the next number made from another image", 11, 11, kOther, bus::Origin::kCommit, Admission::kFork},
    {"a range that overlaps us", 8, 12, kOther, bus::Origin::kRange, Admission::kCovers},
    {"a delta that overlaps us", 8, 12, kOther, bus::Origin::kDelta, Admission::kCovers},
    {"a delta from another image at our place", 11, 11, kOther, bus::Origin::kDelta, Admission::kCovers},
    {"a newer snapshot", 1, 12, Checksum(), bus::Origin::kSnapshot, Admission::kCovers},
    {"a delta behind a gap", 13, 14, kOurs, bus::Origin::kDelta, Admission::kGap},
};

TEST(Admit, DecidesByNumberChecksumAndOrigin) {
  for (const Case& one : kCases) {
    ltx::Header header;
    header.min_txid = Txid(one.min_txid);
    header.max_txid = Txid(one.max_txid);
    header.pre_apply_checksum = one.pre;
    EXPECT_EQ(Admit({Txid(10), kOurs}, header, one.origin), one.expected) << one.what;
  }
}

}  // namespace
}  // namespace runnel::subscriber
