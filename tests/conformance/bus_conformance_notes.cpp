// Cases about notes: what nodes say of themselves beside a log.
#include <gmock/gmock.h>

#include <algorithm>

#include "tests/conformance/bus_conformance.h"

namespace runnel::bus {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

// Keys and texts, sorted by key.
std::vector<std::pair<std::string, std::string>> NotesIn(Log& log) {
  std::vector<std::pair<std::string, std::string>> out;
  const Result<std::vector<Note>> notes = log.Notes();
  if (!notes.ok()) {
    ADD_FAILURE() << notes.error().message();
    return out;
  }
  for (const Note& note : *notes) out.emplace_back(note.key, note.text);
  std::sort(out.begin(), out.end());
  return out;
}

TEST_P(BusConformance, NotesKeepTheLastTextOfEachKey) {
  CreateLog();
  EXPECT_THAT(NotesIn(log()), ElementsAre());
  const WallTime before = std::chrono::time_point_cast<std::chrono::microseconds>(std::chrono::system_clock::now());
  const std::unique_ptr<Log> other = OpenLog();
  ASSERT_NE(other, nullptr);
  for (const auto& [by, note] : std::vector<std::pair<Log*, Note>>{{&log(), {"a-1", before, "one"}},
                                                                   {other.get(), {"b_2", before, "two"}},
                                                                   {other.get(), {"a-1", before, "three"}},
                                                                   {&log(), {"c", before, std::string(16384, 'c')}}}) {
    const Status put = by->PutNote(note);
    ASSERT_TRUE(put.ok()) << note.key << ": " << put.error().message();
  }
  EXPECT_THAT(NotesIn(*OpenLog()),
              ElementsAre(Pair("a-1", "three"), Pair("b_2", "two"), Pair("c", std::string(16384, 'c'))));
  const Result<std::vector<Note>> notes = log().Notes();
  ASSERT_TRUE(notes.ok()) << notes.error().message();
  for (const Note& note : *notes) {
    EXPECT_GE(note.stored_at, before - std::chrono::seconds(1)) << note.key;
    EXPECT_LE(note.stored_at - before, kPatience) << note.key;
  }
}

TEST_P(BusConformance, NotesAreNoPartOfTheLog) {
  CreateLog();
  const std::unique_ptr<LogWriter> writer = TakeOver(log(), "marker");
  ASSERT_NE(writer, nullptr);
  const std::string incarnation = log().Info()->incarnation;
  ASSERT_TRUE(log().PutNote({"node", {}, "here"}).ok());
  AppendAcked(*writer, "m", 2);
  ASSERT_TRUE(log().PutNote({"node", {}, "still here"}).ok());
  EXPECT_THAT(AllPayloads(), ElementsAre("marker", "m0", "m1"));
  EXPECT_EQ(log().Info()->incarnation, incarnation);
  EXPECT_THAT(NotesIn(log()), ElementsAre(Pair("node", "still here")));
}

TEST_P(BusConformance, NotesHaveKeysAndBounds) {
  CreateLog();
  for (const std::string key : {"", "a.b", "a b", "*", ">", "../a", "\n"}) {
    EXPECT_EQ(log().PutNote({key, {}, "text"}).code(), Errc::kInvalid) << key;
  }
  EXPECT_EQ(log().PutNote({std::string(65, 'k'), {}, "text"}).code(), Errc::kInvalid);
  EXPECT_EQ(log().PutNote({"key", {}, std::string(16385, 't')}).code(), Errc::kInvalid);
  EXPECT_THAT(NotesIn(log()), ElementsAre());
  EXPECT_TRUE(log().PutNote({std::string(64, 'k'), {}, "-"}).ok());
  EXPECT_THAT(NotesIn(log()), ElementsAre(Pair(std::string(64, 'k'), "-")));
}

}  // namespace
}  // namespace runnel::bus
