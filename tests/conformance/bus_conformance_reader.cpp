// Cases about readers and the log as a whole: where reading starts, waiting, trimming, loss that must be seen.
#include <gmock/gmock.h>

#include <thread>

#include "tests/conformance/bus_conformance.h"

namespace runnel::bus {
namespace {

using ::testing::ElementsAre;

SteadyTime In(std::chrono::milliseconds time) { return std::chrono::steady_clock::now() + time; }

TEST_P(BusConformance, LogThatWasNeverMadeIsNotFound) {
  EXPECT_EQ(log().Info().code(), Errc::kNotFound);
  EXPECT_EQ(log().Tail().code(), Errc::kNotFound);
  EXPECT_EQ(log().Get(StreamSeq(1)).code(), Errc::kNotFound);
  EXPECT_EQ(log().Read(FromEarliest{}).code(), Errc::kNotFound);
  EXPECT_EQ(log().TrimBefore(StreamSeq(1)).code(), Errc::kNotFound);
  auto decision = [](const std::optional<Message>&) -> Result<std::optional<std::string>> {
    return std::optional<std::string>("marker");
  };
  EXPECT_EQ(log().TakeOver(decision, {}, {}).code(), Errc::kNotFound);
}

TEST_P(BusConformance, NewLogIsEmpty) {
  CreateLog();
  CreateLog();  // once more changes nothing
  Result<LogInfo> info = log().Info();
  ASSERT_TRUE(info.ok()) << info.error().message();
  EXPECT_EQ(info->adapter, GetParam().name);
  EXPECT_FALSE(info->name.empty());
  EXPECT_FALSE(info->location.empty());
  EXPECT_FALSE(info->incarnation.empty());
  EXPECT_EQ(info->first_seq, StreamSeq(0));
  EXPECT_EQ(info->last_seq, StreamSeq(0));
  EXPECT_EQ(info->message_count, 0u);
  EXPECT_THAT(info->dangers, ::testing::IsEmpty());
  Result<std::optional<Message>> tail = log().Tail();
  ASSERT_TRUE(tail.ok()) << tail.error().message();
  EXPECT_FALSE(tail->has_value());
  Result<std::optional<Message>> first = log().Get(StreamSeq(0));
  ASSERT_TRUE(first.ok()) << first.error().message();
  EXPECT_FALSE(first->has_value());
}

TEST_P(BusConformance, InfoAndGetAgreeWithWhatWasAppended) {
  CreateLog();
  std::string incarnation = log().Info()->incarnation;
  WallTime before = std::chrono::time_point_cast<std::chrono::microseconds>(std::chrono::system_clock::now());
  std::unique_ptr<LogWriter> writer = TakeOver(log(), "marker");
  ASSERT_NE(writer, nullptr);
  AppendAcked(*writer, "m", 9);
  Result<LogInfo> info = log().Info();
  ASSERT_TRUE(info.ok()) << info.error().message();
  EXPECT_EQ(info->incarnation, incarnation);
  EXPECT_EQ(info->last_seq, writer->acked_seq());
  EXPECT_GT(info->bytes, 0u);
  std::vector<Message> all = Everything();
  ASSERT_EQ(all.size(), 10u);
  EXPECT_EQ(info->first_seq, all.front().seq);
  if (capabilities().dense_sequences) {
    EXPECT_EQ(info->message_count, 10u);
  }
  for (const Message& message : all) {
    Result<std::optional<Message>> got = log().Get(message.seq);
    ASSERT_TRUE(got.ok() && got->has_value());
    EXPECT_EQ((*got)->seq, message.seq);
    EXPECT_EQ((*got)->payload, message.payload);
    EXPECT_EQ((*got)->stored_at, message.stored_at);
    EXPECT_LT(std::chrono::abs(message.stored_at - before), std::chrono::minutes(1));
  }
  Result<std::optional<Message>> beyond = log().Get(info->last_seq.Next());
  ASSERT_TRUE(beyond.ok()) << beyond.error().message();
  EXPECT_FALSE(beyond->has_value());
}

TEST_P(BusConformance, PayloadsAreAnyBytes) {
  CreateLog();
  std::unique_ptr<LogWriter> writer = TakeOver(log(), "marker");
  ASSERT_NE(writer, nullptr);
  std::string bytes;
  for (int i = 0; i < 1024; ++i) bytes.push_back(static_cast<char>(i));
  ASSERT_TRUE(Append(*writer, bytes).ok());
  ASSERT_TRUE(Append(*writer, std::string(1, '\0')).ok());
  ASSERT_TRUE(WaitAcked(*writer, 2).ok());
  EXPECT_THAT(AllPayloads(), ElementsAre("marker", bytes, std::string(1, '\0')));
}

TEST_P(BusConformance, ReaderStartsAtASequence) {
  CreateLog();
  std::unique_ptr<LogWriter> writer = TakeOver(log(), "marker");
  ASSERT_NE(writer, nullptr);
  AppendAcked(*writer, "m", 10);
  std::vector<Message> all = Everything();
  ASSERT_EQ(all.size(), 11u);
  EXPECT_THAT(Payloads(*Read(log(), FromSequence{all[4].seq}), 2), ElementsAre(all[4].payload, all[5].payload));
  EXPECT_THAT(Payloads(*Read(log(), FromSequence{StreamSeq(0)}), 1), ElementsAre("marker"));
  EXPECT_THAT(Payloads(*Read(log(), FromEarliest{}), 2), ElementsAre("marker", "m0"));
  // Just behind the last: the place where a reader that has everything goes on.
  std::unique_ptr<LogReader> behind = Read(log(), FromSequence{all.back().seq.Next()});
  EXPECT_EQ(Next(*behind, In(std::chrono::milliseconds(50))).code(), Errc::kTimeout);
  AppendAcked(*writer, "n", 1);
  EXPECT_THAT(Payloads(*behind, 1), ElementsAre("n0"));
}

TEST_P(BusConformance, ReaderStartsAtATime) {
  CreateLog();
  std::unique_ptr<LogWriter> writer = TakeOver(log(), "marker");
  ASSERT_NE(writer, nullptr);
  AppendAcked(*writer, "early", 3);
  WallTime early = Everything().back().stored_at;
  // The bus's clock decides what is later, so append until it has moved on.
  Message late;
  for (int i = 0; late.stored_at <= early; ++i) {
    AppendAcked(*writer, "try" + std::to_string(i) + "-", 1);
    late = Everything().back();
  }
  AppendAcked(*writer, "behind", 1);
  EXPECT_THAT(Payloads(*Read(log(), FromTime{late.stored_at}), 2), ElementsAre(late.payload, "behind0"));
  EXPECT_THAT(Payloads(*Read(log(), FromTime{WallTime()}), 1), ElementsAre("marker"));
  std::unique_ptr<LogReader> future = Read(log(), FromTime{late.stored_at + std::chrono::hours(1)});
  EXPECT_EQ(Next(*future, In(std::chrono::milliseconds(50))).code(), Errc::kTimeout);
}

TEST_P(BusConformance, ReaderFromTheEndGetsOnlyWhatComesLater) {
  CreateLog();
  std::unique_ptr<LogReader> of_empty = Read(log(), FromEnd{});
  std::unique_ptr<LogWriter> writer = TakeOver(log(), "marker");
  ASSERT_NE(writer, nullptr);
  AppendAcked(*writer, "before", 5);
  std::unique_ptr<LogReader> reader = Read(log(), FromEnd{});
  AppendAcked(*writer, "after", 2);
  EXPECT_THAT(Payloads(*reader, 2), ElementsAre("after0", "after1"));
  EXPECT_THAT(Payloads(*of_empty, 2), ElementsAre("marker", "before0"));
}

TEST_P(BusConformance, WaitingReaderIsWokenByAMessage) {
  CreateLog();
  std::unique_ptr<LogWriter> writer = TakeOver(log(), "marker");
  ASSERT_NE(writer, nullptr);
  std::unique_ptr<LogReader> reader = Read(log(), FromEnd{});
  for (int i = 0; i < 20; ++i) {
    std::jthread appender([&] { ASSERT_TRUE(Append(*writer, "m" + std::to_string(i)).ok()); });
    EXPECT_THAT(Payloads(*reader, 1), ElementsAre("m" + std::to_string(i)));
  }
}

TEST_P(BusConformance, ReadersDoNotDisturbEachOther) {
  CreateLog();
  std::unique_ptr<LogWriter> writer = TakeOver(log(), "marker");
  ASSERT_NE(writer, nullptr);
  AppendAcked(*writer, "m", 4);
  std::unique_ptr<LogReader> one = Read(log(), FromEarliest{});
  std::unique_ptr<LogReader> two = Read(log(), FromEarliest{});
  EXPECT_THAT(Payloads(*one, 3), ElementsAre("marker", "m0", "m1"));
  EXPECT_THAT(Payloads(*two, 2), ElementsAre("marker", "m0"));
  one.reset();
  EXPECT_THAT(Payloads(*two, 3), ElementsAre("m1", "m2", "m3"));
}

TEST_P(BusConformance, NextEndsAtItsDeadlineAndOnStop) {
  CreateLog();
  std::unique_ptr<LogReader> reader = Read(log(), FromEarliest{});
  SteadyTime start = std::chrono::steady_clock::now();
  EXPECT_EQ(Next(*reader, start + std::chrono::milliseconds(60)).code(), Errc::kTimeout);
  EXPECT_GE(std::chrono::steady_clock::now(), start + std::chrono::milliseconds(60));
  EXPECT_EQ(Next(*reader, start).code(), Errc::kTimeout);  // in the past: does not wait
  std::stop_source stop;
  std::jthread stopper([&stop] { stop.request_stop(); });
  EXPECT_EQ(reader->Next(In(kPatience), stop.get_token()).code(), Errc::kCancelled);
  EXPECT_LT(std::chrono::steady_clock::now() - start, kPatience);
  // The reader is as good as before.
  std::unique_ptr<LogWriter> writer = TakeOver(log(), "marker");
  EXPECT_THAT(Payloads(*reader, 1), ElementsAre("marker"));
}

TEST_P(BusConformance, TrimmedMessagesAreGoneForNewReaders) {
  CreateLog();
  std::unique_ptr<LogWriter> writer = TakeOver(log(), "marker");
  ASSERT_NE(writer, nullptr);
  AppendAcked(*writer, "m", 20);
  std::vector<Message> all = Everything();
  ASSERT_EQ(all.size(), 21u);
  Status trimmed = log().TrimBefore(all[7].seq);
  ASSERT_TRUE(trimmed.ok()) << trimmed.error().message();
  std::unique_ptr<Log> fresh = OpenLog();
  EXPECT_EQ(fresh->Info()->first_seq, all[7].seq);
  EXPECT_EQ(fresh->Info()->last_seq, all.back().seq);
  EXPECT_EQ((**fresh->Get(StreamSeq(1))).payload, all[7].payload);
  EXPECT_THAT(Payloads(*Read(*fresh, FromEarliest{}), 2), ElementsAre(all[7].payload, all[8].payload));
  EXPECT_THAT(Payloads(*Read(*fresh, FromSequence{all[2].seq}), 1), ElementsAre(all[7].payload));
  EXPECT_THAT(Payloads(*Read(*fresh, FromTime{WallTime()}), 1), ElementsAre(all[7].payload));
  ASSERT_TRUE(log().TrimBefore(all[3].seq).ok());  // backwards changes nothing
  EXPECT_EQ(fresh->Info()->first_seq, all[7].seq);
}

TEST_P(BusConformance, LogTrimmedToNothingGoesOnCounting) {
  CreateLog();
  std::unique_ptr<LogWriter> writer = TakeOver(log(), "marker");
  ASSERT_NE(writer, nullptr);
  AppendAcked(*writer, "m", 5);
  StreamSeq last = writer->acked_seq();
  ASSERT_TRUE(log().TrimBefore(last.Next()).ok());
  Result<LogInfo> info = log().Info();
  ASSERT_TRUE(info.ok());
  EXPECT_EQ(info->first_seq, StreamSeq(0));
  EXPECT_EQ(info->last_seq, last);
  EXPECT_EQ(info->message_count, 0u);
  EXPECT_FALSE((*log().Tail()).has_value());
  AppendAcked(*writer, "n", 2);
  EXPECT_THAT(AllPayloads(), ElementsAre("n0", "n1"));
  EXPECT_GT(Everything().front().seq, last);
  writer.reset();
  std::unique_ptr<Log> again = OpenLog();
  writer = TakeOver(*again, "again");
  ASSERT_NE(writer, nullptr);
  EXPECT_THAT(AllPayloads(), ElementsAre("n0", "n1", "again"));
}

// What a reader has fetched ahead it may still hand out; but between two messages it hands out nothing may be missing.
TEST_P(BusConformance, ReaderWhosePlaceWasTrimmedSeesAGapAndNeverSkips) {
  CreateLog();
  std::unique_ptr<LogWriter> writer = TakeOver(log(), "marker");
  ASSERT_NE(writer, nullptr);
  constexpr int kCount = 1000;
  std::string filler(50'000, '.');  // 50 MB: more than any reader fetches ahead, and an answer on its way to it
  std::unique_ptr<LogReader> reader = Read(log(), FromEarliest{});
  for (int i = 0; i < kCount; ++i) {
    ASSERT_TRUE(Append(*writer, std::to_string(i) + filler).ok());
  }
  ASSERT_TRUE(WaitAcked(*writer, kCount).ok());
  EXPECT_THAT(Payloads(*reader, 1), ElementsAre("marker"));
  ASSERT_TRUE(log().TrimBefore(writer->acked_seq()).ok());
  int next = 0;
  Result<Message> message = Next(*reader);
  for (; message.ok(); message = Next(*reader)) {
    ASSERT_EQ(std::atoi(message->payload.c_str()), next) << "messages were skipped without a word";
    ++next;
    ASSERT_LT(next, kCount) << "nothing was trimmed";
  }
  EXPECT_EQ(message.code(), Errc::kGap) << message.error().message();
  EXPECT_EQ(Next(*reader).code(), Errc::kGap);  // it stays where it is
}

TEST_P(BusConformance, LogDeletedAndMadeAgainIsAGapForItsReadersAndAnErrorForItsWriter) {
  CreateLog();
  std::string incarnation = log().Info()->incarnation;
  std::unique_ptr<LogWriter> writer = TakeOver(log(), "marker");
  ASSERT_NE(writer, nullptr);
  AppendAcked(*writer, "old", 10);
  std::unique_ptr<LogReader> reader = Read(log(), FromEarliest{});
  EXPECT_EQ(Payloads(*reader, 11).size(), 11u);

  Status deleted = bus().DeleteLog();
  ASSERT_TRUE(deleted.ok()) << deleted.error().message();
  std::unique_ptr<Log> fresh = OpenLog();
  Status created = fresh->Create();
  ASSERT_TRUE(created.ok()) << created.error().message();
  EXPECT_NE(fresh->Info()->incarnation, incarnation);
  std::unique_ptr<LogWriter> next_writer = TakeOver(*fresh, "new");
  ASSERT_NE(next_writer, nullptr);
  AppendAcked(*next_writer, "new", 30);  // more than the old log had: sequences alone do not tell

  Status appended = Append(*writer, "zombie");
  Error error = appended.ok() ? WaitError(*writer) : appended.error();
  EXPECT_TRUE(error.code() == Errc::kConflict || error.code() == Errc::kUnavailable) << error.message();
  EXPECT_EQ(writer->acked(), 10u);

  SteadyTime give_up = In(kPatience);
  Result<Message> message = Error(Errc::kTimeout, "not tried");
  while (!message.ok() && message.code() != Errc::kGap && std::chrono::steady_clock::now() < give_up) {
    message = Next(*reader, give_up);
  }
  ASSERT_FALSE(message.ok()) << "read '" << message->payload << "' of the new log as if it were the old one's";
  EXPECT_EQ(message.code(), Errc::kGap) << message.error().message();
  std::vector<std::string> all = AllPayloads();
  EXPECT_EQ(all.size(), 31u);
  EXPECT_EQ(all.front(), "new");
}

TEST_P(BusConformance, ReaderGoesOnByItselfWhenTheServerIsBack) {
  if (!capabilities().can_restart) GTEST_SKIP() << "does not apply: no server";
  CreateLog();
  std::unique_ptr<LogWriter> writer = TakeOver(log(), "marker");
  ASSERT_NE(writer, nullptr);
  AppendAcked(*writer, "a", 5);
  std::unique_ptr<LogReader> reader = Read(log(), FromEarliest{});
  EXPECT_EQ(Payloads(*reader, 3).size(), 3u);
  writer.reset();
  bus().Restart();
  SteadyTime give_up = In(kPatience);
  std::unique_ptr<Log> fresh = OpenLog();
  auto decision = [](const std::optional<Message>&) -> Result<std::optional<std::string>> {
    return std::optional<std::string>("back");
  };
  Result<std::unique_ptr<LogWriter>> again = Error(Errc::kUnavailable, "not tried");
  while (!again.ok() && std::chrono::steady_clock::now() < give_up) {
    again = fresh->TakeOver(decision, {}, {});
  }
  ASSERT_TRUE(again.ok()) << again.error().message();
  std::vector<std::string> got;
  while (got.size() < 4 && std::chrono::steady_clock::now() < give_up) {
    Result<Message> message = Next(*reader, give_up);
    if (message.ok()) {
      got.push_back(message->payload);
    } else {
      ASSERT_EQ(message.code(), Errc::kUnavailable) << message.error().message();
    }
  }
  EXPECT_THAT(got, ElementsAre("a2", "a3", "a4", "back"));
}

}  // namespace
}  // namespace runnel::bus
