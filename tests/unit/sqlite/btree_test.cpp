#include "ltx/sqlite/btree.h"

#include <gtest/gtest.h>
#include <sqlite3.h>

#include <map>
#include <random>
#include <string>
#include <vector>

#include "ltx/sqlite/btree_cursor.h"
#include "ltx/sqlite/record.h"
#include "ltx/sqlite/varint.h"

// The fuzz target, run here over mutations of real images.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace runnel::sqlite {
namespace {

// The bytes of a database SQLite has made.
std::string Make(const std::string& sql) {
  sqlite3* db = nullptr;
  EXPECT_EQ(sqlite3_open(":memory:", &db), SQLITE_OK);
  char* message = nullptr;
  EXPECT_EQ(sqlite3_exec(db, sql.c_str(), nullptr, nullptr, &message), SQLITE_OK) << message;
  sqlite3_int64 size = 0;
  unsigned char* bytes = sqlite3_serialize(db, "main", &size, 0);
  std::string image(reinterpret_cast<char*>(bytes), static_cast<size_t>(size));
  sqlite3_free(bytes);
  sqlite3_close(db);
  return image;
}

std::string Rows(int count, const std::string& table, const std::string& values) {
  return "WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM s LIMIT " + std::to_string(count) +
         ") INSERT INTO " + table + " SELECT " + values + " FROM s;";
}

struct Table {
  std::vector<std::vector<OwnedValue>> rows;
  std::vector<int64_t> rowids;
};

// All rows of the tree at `root`.
Result<Table> ReadTable(const std::string& image, uint32_t page_size, Pgno root) {
  MemorySource source(AsBytes(image), page_size);
  TRY_ASSIGN(Image opened, Image::Of(source));
  TreeCursor cursor(opened, root);
  Table table;
  std::string buffer;
  std::vector<Value> fields;
  while (true) {
    TRY_ASSIGN(bool more, cursor.Next());
    if (!more) return table;
    TRY_ASSIGN(Bytes payload, ReadPayload(opened, cursor.at().pgno, cursor.at().cell, buffer));
    TRY(DecodeRecord(payload, fields));
    table.rowids.push_back(cursor.at().cell.rowid);
    table.rows.emplace_back();
    for (const Value& v : fields)
      table.rows.back().push_back({v.type, v.integer, v.real, std::string(AsText(v.bytes))});
  }
}

TEST(Varint, ReadsEveryLengthAndRefusesToRunPastTheEnd) {
  EXPECT_EQ(ReadVarint(AsBytes(std::string_view("\x7f", 1))).value, 0x7fu);
  EXPECT_EQ(ReadVarint(AsBytes(std::string_view("\x81\x00", 2))).value, 0x80u);
  std::string longest(9, '\xff');
  EXPECT_EQ(ReadVarint(AsBytes(longest)).value, ~uint64_t{0});
  EXPECT_EQ(ReadVarint(AsBytes(longest)).bytes, 9u);
  for (size_t size = 0; size < 9; ++size)
    EXPECT_EQ(ReadVarint(AsBytes(std::string_view(longest).substr(0, size))).bytes, 0u);
}

TEST(DbHeader, ReadsWhatSqliteWroteAndRefusesOtherBytes) {
  std::string image =
      Make("PRAGMA page_size=65536; PRAGMA auto_vacuum=2; PRAGMA encoding='UTF-16be'; CREATE TABLE t(a);");
  Result<DbHeader> header = ParseDbHeader(AsBytes(image));
  ASSERT_TRUE(header.ok());
  EXPECT_EQ(header->page_size, PageSize(65536));
  EXPECT_EQ(header->encoding, TextEncoding::kUtf16be);
  EXPECT_TRUE(header->auto_vacuum);
  EXPECT_TRUE(header->incremental_vacuum);
  for (size_t size = 0; size < kDbHeaderBytes; ++size) EXPECT_FALSE(ParseDbHeader(AsBytes(image).first(size)).ok());
  for (size_t at : {0, 5, 16, 21, 22, 23, 47, 56}) {
    std::string damaged = image;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x7f);
    EXPECT_EQ(ParseDbHeader(AsBytes(damaged)).code(), Errc::kCorrupt) << at;
  }
}

TEST(Record, DecodesEverySerialType) {
  std::string image = Make(
      "CREATE TABLE t(a,b,c,d,e,f,g,h,i,j,k); INSERT INTO t VALUES(NULL,-1,-300,70000,-2147483648,1099511627776,"
      "-9223372036854775808,2.5,0,'text',x'0102');");
  Result<Table> table = ReadTable(image, 4096, Pgno(2));
  ASSERT_TRUE(table.ok()) << table.error().message();
  std::vector<OwnedValue>& row = table->rows.at(0);
  ASSERT_EQ(row.size(), 11u);
  EXPECT_EQ(row[0].type, ValueType::kNull);
  EXPECT_EQ(row[1].integer, -1);
  EXPECT_EQ(row[2].integer, -300);
  EXPECT_EQ(row[3].integer, 70000);
  EXPECT_EQ(row[4].integer, -2147483648LL);
  EXPECT_EQ(row[5].integer, 1099511627776LL);
  EXPECT_EQ(row[6].integer, INT64_MIN);
  EXPECT_EQ(row[7].real, 2.5);
  EXPECT_EQ(row[8].type, ValueType::kInteger);
  EXPECT_EQ(row[9].bytes, "text");
  EXPECT_EQ(row[10].bytes, std::string("\1\2"));
}

TEST(Record, RefusesWhatDoesNotFitExactly) {
  std::vector<Value> fields;
  auto refused = [&](std::string_view bytes) { return !DecodeRecord(AsBytes(bytes), fields).ok(); };
  EXPECT_FALSE(refused(std::string_view("\x02\x01\x05", 3)));
  EXPECT_TRUE(refused(""));
  EXPECT_TRUE(refused(std::string_view("\x00", 1)));              // a header shorter than its own length
  EXPECT_TRUE(refused(std::string_view("\x05\x01", 2)));          // a header longer than the payload
  EXPECT_TRUE(refused(std::string_view("\x02\x01", 2)));          // no value
  EXPECT_TRUE(refused(std::string_view("\x02\x01\x05\x06", 4)));  // a byte too many
  EXPECT_TRUE(refused(std::string_view("\x02\x0a", 2)));          // reserved
  EXPECT_TRUE(refused(std::string_view("\x02\x0b", 2)));
}

TEST(Record, ConvertsUtf16AsSqliteDoes) {
  EXPECT_EQ(ToUtf8(AsBytes(std::string_view("a\0\xe9\0\x3d\xd8\0\xde", 8)), TextEncoding::kUtf16le),
            "a\xc3\xa9\xf0\x9f\x98\x80");
  EXPECT_EQ(ToUtf8(AsBytes(std::string_view("\0a\x4e\x2dx", 5)), TextEncoding::kUtf16be),
            "a\xe4\xb8\xad");  // odd last byte
}

TEST(Btree, ReadsAllRowsOfTablesAndIndexesWithOverflow) {
  for (uint32_t page_size = 512; page_size <= 65536; page_size *= 2) {
    std::string image =
        Make("PRAGMA page_size=" + std::to_string(page_size) +
             "; CREATE TABLE t(a INTEGER PRIMARY KEY, b); CREATE TABLE w(k PRIMARY KEY, v) WITHOUT ROWID;" +
             Rows(400, "t", "i*3, zeroblob(i*13)") + Rows(400, "w", "'key'||printf('%05d',i), zeroblob(i*17)"));
    Result<Table> t = ReadTable(image, page_size, Pgno(2));
    ASSERT_TRUE(t.ok()) << t.error().message();
    ASSERT_EQ(t->rows.size(), 400u);
    Result<Table> w = ReadTable(image, page_size, Pgno(3));
    ASSERT_TRUE(w.ok()) << w.error().message();
    ASSERT_EQ(w->rows.size(), 400u);
    for (size_t i = 0; i < 400; ++i) {
      EXPECT_EQ(t->rowids[i], static_cast<int64_t>(3 * (i + 1)));
      EXPECT_EQ(t->rows[i][1].bytes.size(), 13 * (i + 1));
      EXPECT_EQ(w->rows[i][1].bytes.size(), 17 * (i + 1));
      if (i > 0) {
        EXPECT_LT(w->rows[i - 1][0].bytes, w->rows[i][0].bytes);
      }
    }
  }
}

TEST(Btree, EndsOnCyclesAndNamesThePage) {
  std::string image =
      Make("PRAGMA page_size=512; CREATE TABLE t(a INTEGER PRIMARY KEY, b);" + Rows(500, "t", "i, hex(i)"));
  ASSERT_EQ(image[512], 5) << "page 2 should be an interior table page";
  StoreBe32(reinterpret_cast<std::byte*>(image.data()) + 512 + 8, 2);  // its right-most child is itself
  Result<Table> table = ReadTable(image, 512, Pgno(2));
  ASSERT_FALSE(table.ok());
  EXPECT_EQ(table.code(), Errc::kCorrupt);
  EXPECT_NE(table.error().message().find("page "), std::string::npos);
}

TEST(Btree, RefusesOrAnswersAnyDamagedImage) {
  uint64_t seed = 20240501;
  std::mt19937_64 random(seed);
  std::string image = Make(
      "PRAGMA page_size=512; CREATE TABLE t(a INTEGER PRIMARY KEY, b, c); CREATE TABLE w(k PRIMARY KEY, v) "
      "WITHOUT ROWID; CREATE INDEX i ON t(b);" +
      Rows(60, "t", "i*3, zeroblob(i*13), 'x'||i") + Rows(60, "w", "'key'||i, zeroblob(i*17)"));
  image.resize(std::min<size_t>(image.size(), 64 * 512));
  for (int round = 0; round < 4000; ++round) {
    std::string input = std::string(1, '\0') + image;
    for (uint64_t n = 1 + random() % 8; n > 0; --n) {
      size_t page = random() % (image.size() / 512);
      size_t at = 1 + page * 512 + (random() % 2 == 0 ? random() % 24 : random() % 512);
      input[at] =
          static_cast<char>(random() % 2 == 0 ? random() : static_cast<uint64_t>(input[at]) ^ 1u << random() % 8);
    }
    if (random() % 4 == 0) input.resize(513 + random() % (input.size() - 513));
    LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size());
  }
}

}  // namespace
}  // namespace runnel::sqlite
