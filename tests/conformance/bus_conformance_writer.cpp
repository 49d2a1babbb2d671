// Cases about writers: order, prefix, fence, durability, bounds.
#include <gmock/gmock.h>

#include <atomic>
#include <random>
#include <thread>

#include "tests/conformance/bus_conformance.h"

namespace runnel::bus {
namespace {

using ::testing::ElementsAre;

// The number behind a prefix: 17 of "a17"; -1 if the text starts differently.
int NumberBehind(const std::string& text, const std::string& prefix) {
  if (text.compare(0, prefix.size(), prefix) != 0 || text.size() == prefix.size()) return -1;
  return std::atoi(text.c_str() + prefix.size());
}

TEST_P(BusConformance, AppendedMessagesAreReadInOrder) {
  CreateLog();
  std::unique_ptr<LogWriter> writer = TakeOver(log(), "marker");
  ASSERT_NE(writer, nullptr);
  AppendAcked(*writer, "m", 100);
  std::vector<std::string> want = Numbered("m", 100);
  want.insert(want.begin(), "marker");
  EXPECT_EQ(AllPayloads(), want);
  EXPECT_EQ(writer->acked(), 100u);
  EXPECT_TRUE(writer->error().ok());
  Result<std::optional<Message>> tail = log().Tail();
  ASSERT_TRUE(tail.ok() && tail->has_value());
  EXPECT_EQ(writer->acked_seq(), (*tail)->seq);
}

TEST_P(BusConformance, TakeOverShowsTheTailAndPutsTheMarkerRightBehindIt) {
  CreateLog();
  std::unique_ptr<LogWriter> first = TakeOver(log(), "first");
  ASSERT_NE(first, nullptr);
  AppendAcked(*first, "a", 3);
  StreamSeq tail_seq = first->acked_seq();
  first.reset();
  std::vector<std::optional<std::string>> shown;
  auto decision = [&shown](const std::optional<Message>& tail) -> Result<std::optional<std::string>> {
    shown.push_back(tail ? std::optional(tail->payload) : std::nullopt);
    return std::optional<std::string>("second");
  };
  Result<std::unique_ptr<LogWriter>> second = log().TakeOver(decision, {}, {});
  ASSERT_TRUE(second.ok()) << second.error().message();
  ASSERT_FALSE(shown.empty());
  EXPECT_EQ(shown.back(), "a2");
  EXPECT_EQ((*second)->acked(), 0u);  // the marker is not counted
  EXPECT_GT((*second)->acked_seq(), tail_seq);
  if (capabilities().dense_sequences) {
    EXPECT_EQ((*second)->acked_seq(), tail_seq.Next());
  }
  AppendAcked(**second, "b", 1);
  EXPECT_THAT(AllPayloads(), ElementsAre("first", "a0", "a1", "a2", "second", "b0"));
}

TEST_P(BusConformance, TakeOverOfAnEmptyLogShowsNoTail) {
  CreateLog();
  int calls = 0;
  auto decision = [&calls](const std::optional<Message>& tail) -> Result<std::optional<std::string>> {
    ++calls;
    EXPECT_FALSE(tail.has_value());
    return std::optional<std::string>();
  };
  Result<std::unique_ptr<LogWriter>> writer = log().TakeOver(decision, {}, {});
  ASSERT_TRUE(writer.ok()) << writer.error().message();
  EXPECT_GE(calls, 1);
  EXPECT_EQ((*writer)->acked_seq(), StreamSeq(0));
  AppendAcked(**writer, "a", 2);
  EXPECT_THAT(AllPayloads(), ElementsAre("a0", "a1"));
}

TEST_P(BusConformance, RefusedTakeOverLeavesTheLogAndItsWriterAlone) {
  CreateLog();
  std::unique_ptr<LogWriter> writer = TakeOver(log(), "marker");
  ASSERT_NE(writer, nullptr);
  AppendAcked(*writer, "a", 2);
  std::unique_ptr<Log> other = OpenLog();
  auto decision = [](const std::optional<Message>&) -> Result<std::optional<std::string>> {
    return Error(Errc::kRefused, "another database's log");
  };
  Result<std::unique_ptr<LogWriter>> refused = other->TakeOver(decision, {}, {});
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.code(), Errc::kRefused);
  AppendAcked(*writer, "b", 2);
  EXPECT_THAT(AllPayloads(), ElementsAre("marker", "a0", "a1", "b0", "b1"));
}

TEST_P(BusConformance, NewWriterFencesTheOldOne) {
  CreateLog();
  std::unique_ptr<LogWriter> old_writer = TakeOver(log(), "old");
  ASSERT_NE(old_writer, nullptr);
  AppendAcked(*old_writer, "a", 3);
  std::unique_ptr<Log> other = OpenLog();
  std::unique_ptr<LogWriter> new_writer = TakeOver(*other, "new");
  ASSERT_NE(new_writer, nullptr);
  // The old writer may learn of it at the append or at the ack; it must not learn success.
  Status appended = Append(*old_writer, "zombie");
  Error error = appended.ok() ? WaitError(*old_writer) : appended.error();
  EXPECT_EQ(error.code(), Errc::kConflict) << error.message();
  EXPECT_EQ(old_writer->acked(), 3u);
  EXPECT_FALSE(Append(*old_writer, "again").ok());  // dead for good
  AppendAcked(*new_writer, "b", 2);
  if (capabilities().exact_fence) {
    EXPECT_THAT(AllPayloads(), ElementsAre("old", "a0", "a1", "a2", "new", "b0", "b1"));
  }
}

TEST_P(BusConformance, TakeOverWithoutMarkerFencesToo) {
  CreateLog();
  std::unique_ptr<LogWriter> old_writer = TakeOver(log(), "old");
  ASSERT_NE(old_writer, nullptr);
  AppendAcked(*old_writer, "a", 1);
  std::unique_ptr<Log> other = OpenLog();
  std::unique_ptr<LogWriter> new_writer = TakeOver(*other, "");
  ASSERT_NE(new_writer, nullptr);
  AppendAcked(*new_writer, "b", 1);
  Status appended = Append(*old_writer, "zombie");
  Error error = appended.ok() ? WaitError(*old_writer) : appended.error();
  EXPECT_EQ(error.code(), Errc::kConflict) << error.message();
  if (capabilities().exact_fence) {
    EXPECT_THAT(AllPayloads(), ElementsAre("old", "a0", "b0"));
  }
}

TEST_P(BusConformance, FencedWriterWithMessagesInFlightLeavesAPrefix) {
  if (!capabilities().exact_fence) GTEST_SKIP() << "does not apply: the fence of this bus is the reader";
  CreateLog();
  for (int round = 0; round < 5; ++round) {
    std::string prefix = "r" + std::to_string(round) + "-";
    std::unique_ptr<LogWriter> old_writer = TakeOver(log(), "old" + std::to_string(round));
    ASSERT_NE(old_writer, nullptr);
    std::atomic<bool> fenced = false;
    std::jthread appender([&] {
      for (int i = 0; !fenced; ++i) {
        if (!Append(*old_writer, prefix + std::to_string(i)).ok()) return;
      }
    });
    ASSERT_TRUE(WaitAcked(*old_writer, 200).ok());
    std::unique_ptr<Log> other = OpenLog();
    std::unique_ptr<LogWriter> new_writer = TakeOver(*other, "new" + std::to_string(round));
    ASSERT_NE(new_writer, nullptr);
    EXPECT_EQ(WaitError(*old_writer).code(), Errc::kConflict);
    fenced = true;
    appender.join();
    AppendAcked(*new_writer, "after", 3);
    // Exactly: old, r-0 .. r-k without a hole, new, after0..2; and everything acked is among the k.
    std::vector<std::string> all = AllPayloads();
    auto at = std::find(all.begin(), all.end(), "old" + std::to_string(round));
    ASSERT_NE(at, all.end());
    int next = 0;
    for (++at; at != all.end() && NumberBehind(*at, prefix) >= 0; ++at) {
      ASSERT_EQ(*at, prefix + std::to_string(next)) << "hole";
      ++next;
    }
    EXPECT_GE(static_cast<uint64_t>(next), old_writer->acked());
    std::vector<std::string> rest(at, all.end());
    EXPECT_THAT(rest, ElementsAre("new" + std::to_string(round), "after0", "after1", "after2"));
  }
}

TEST_P(BusConformance, TakeOverSeesTheTrueTailWhileOthersAppend) {
  if (!capabilities().exact_fence) GTEST_SKIP() << "does not apply: the fence of this bus is the reader";
  CreateLog();
  // Rivals take over in turn while the previous one is still appending. Each marker names the tail it was shown.
  std::vector<std::jthread> appenders;
  std::vector<std::unique_ptr<Log>> logs;
  std::vector<std::unique_ptr<LogWriter>> writers;
  for (int rival = 0; rival < 6; ++rival) {
    logs.push_back(OpenLog());
    auto decision = [rival](const std::optional<Message>& tail) -> Result<std::optional<std::string>> {
      return std::optional("marker" + std::to_string(rival) + " behind " + (tail ? tail->payload : "nothing"));
    };
    Result<std::unique_ptr<LogWriter>> writer = logs.back()->TakeOver(decision, {}, {});
    ASSERT_TRUE(writer.ok()) << writer.error().message();
    writers.push_back(*std::move(writer));
    appenders.emplace_back([writer = writers.back().get(), rival](std::stop_token stop) {
      for (int i = 0; !stop.stop_requested(); ++i) {
        if (!writer->Append("w" + std::to_string(rival) + "-" + std::to_string(i), stop).ok()) return;
      }
    });
    ASSERT_TRUE(WaitAcked(*writers.back(), 50).ok());
  }
  for (std::jthread& appender : appenders) appender.request_stop();
  appenders.clear();
  std::vector<std::string> all = AllPayloads();
  int markers = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    size_t behind = all[i].find(" behind ");
    if (behind == std::string::npos) continue;
    EXPECT_EQ(all[i].substr(behind + 8), i == 0 ? "nothing" : all[i - 1]);
    ++markers;
  }
  EXPECT_EQ(markers, 6);
}

TEST_P(BusConformance, FightingWritersNeverInterleave) {
  if (!capabilities().exact_fence) GTEST_SKIP() << "does not apply: the fence of this bus is the reader";
  CreateLog();
  constexpr int kRivals = 3;
  constexpr int kLeaderships = 5;
  std::vector<std::jthread> rivals;
  for (int rival = 0; rival < kRivals; ++rival) {
    std::unique_ptr<Log> own = OpenLog();
    ASSERT_NE(own, nullptr);
    rivals.emplace_back([own = std::move(own), rival, this] {
      for (int turn = 0; turn < kLeaderships; ++turn) {
        std::string id = std::to_string(rival) + "." + std::to_string(turn);
        std::unique_ptr<LogWriter> writer = TakeOver(*own, "lead " + id);
        if (writer == nullptr) return;
        for (int i = 0; i < 100; ++i) {
          if (!Append(*writer, id + " " + std::to_string(i)).ok()) break;
        }
        (void)WaitAcked(*writer, 100).ok();
      }
    });
  }
  rivals.clear();
  std::string leader;
  int next = 0;
  int leaderships = 0;
  for (const std::string& payload : AllPayloads()) {
    if (payload.starts_with("lead ")) {
      leader = payload.substr(5);
      next = 0;
      ++leaderships;
    } else {
      ASSERT_EQ(payload, leader + " " + std::to_string(next));
      ++next;
    }
  }
  EXPECT_EQ(leaderships, kRivals * kLeaderships);
}

TEST_P(BusConformance, AckedMessageIsThereForAFreshReader) {
  CreateLog();
  std::unique_ptr<LogWriter> writer = TakeOver(log(), "marker");
  ASSERT_NE(writer, nullptr);
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(Append(*writer, "m" + std::to_string(i)).ok());
    ASSERT_TRUE(WaitAcked(*writer, static_cast<uint64_t>(i) + 1).ok());
    std::unique_ptr<Log> fresh = OpenLog();
    Result<std::optional<Message>> tail = fresh->Tail();
    ASSERT_TRUE(tail.ok()) << tail.error().message();
    ASSERT_TRUE(tail->has_value());
    EXPECT_EQ((*tail)->payload, "m" + std::to_string(i));
    EXPECT_EQ((*tail)->seq, writer->acked_seq());
    std::unique_ptr<LogReader> reader = Read(*fresh, FromSequence{writer->acked_seq()});
    EXPECT_THAT(Payloads(*reader, 1), ElementsAre("m" + std::to_string(i)));
  }
}

TEST_P(BusConformance, LogGoesOnAfterEverybodyLeft) {
  CreateLog();
  std::unique_ptr<LogWriter> writer = TakeOver(log(), "one");
  ASSERT_NE(writer, nullptr);
  AppendAcked(*writer, "a", 3);
  writer.reset();
  std::unique_ptr<Log> again = OpenLog();
  ASSERT_TRUE(again->Create().ok());                       // exists: nothing happens
  std::unique_ptr<LogWriter> next = TakeOver(*again, "");  // our own tail: no marker
  ASSERT_NE(next, nullptr);
  AppendAcked(*next, "b", 2);
  EXPECT_THAT(AllPayloads(), ElementsAre("one", "a0", "a1", "a2", "b0", "b1"));
}

TEST_P(BusConformance, LargestPayloadPassesAndALargerOneIsInvalid) {
  CreateLog();
  std::unique_ptr<LogWriter> writer = TakeOver(log(), "marker");
  ASSERT_NE(writer, nullptr);
  uint64_t bytes_max = writer->payload_bytes_max();
  ASSERT_GE(bytes_max, 512u * 1024u);
  std::mt19937_64 random(20240229);
  std::string large(bytes_max, '\0');
  for (char& c : large) c = static_cast<char>(random());
  Status too_large = Append(*writer, large + "x");
  ASSERT_FALSE(too_large.ok());
  EXPECT_EQ(too_large.code(), Errc::kInvalid);
  ASSERT_TRUE(Append(*writer, large).ok());
  ASSERT_TRUE(Append(*writer, "behind").ok());
  ASSERT_TRUE(WaitAcked(*writer, 2).ok());
  std::vector<std::string> all = AllPayloads();
  ASSERT_EQ(all.size(), 3u);
  EXPECT_TRUE(all[1] == large);
  EXPECT_EQ(all[2], "behind");
}

TEST_P(BusConformance, WindowOfMessagesMakesAppendWaitAndStopEndsTheWait) {
  CreateLog();
  WriterOptions options;
  options.inflight_messages_max = 4;
  std::unique_ptr<LogWriter> writer = TakeOver(log(), "marker", options);
  ASSERT_NE(writer, nullptr);
  bus().Pause();
  for (int i = 0; i < 4; ++i) {
    ASSERT_TRUE(Append(*writer, "m" + std::to_string(i)).ok());
  }
  std::stop_source stop;
  std::jthread stopper([&stop] { stop.request_stop(); });
  Status full = writer->Append("fifth", stop.get_token());
  EXPECT_FALSE(full.ok()) << "a fifth message was taken";
  if (!full.ok()) {
    EXPECT_EQ(full.code(), Errc::kCancelled);
  }
  EXPECT_EQ(writer->acked(), 0u);
  bus().Resume();
  ASSERT_TRUE(WaitAcked(*writer, 4).ok());
  AppendAcked(*writer, "n", 2);  // a cancelled append left nothing behind
  EXPECT_THAT(AllPayloads(), ElementsAre("marker", "m0", "m1", "m2", "m3", "n0", "n1"));
}

TEST_P(BusConformance, WindowOfBytesMakesAppendWaitButNeverBlocksASingleMessage) {
  CreateLog();
  WriterOptions options;
  options.inflight_bytes_max = 1000;
  std::unique_ptr<LogWriter> writer = TakeOver(log(), "marker", options);
  ASSERT_NE(writer, nullptr);
  ASSERT_TRUE(Append(*writer, std::string(5000, 'x')).ok());  // larger than the window, alone in it
  ASSERT_TRUE(WaitAcked(*writer, 1).ok());
  bus().Pause();
  ASSERT_TRUE(Append(*writer, std::string(600, 'y')).ok());
  std::stop_source stop;
  std::jthread stopper([&stop] { stop.request_stop(); });
  Status full = writer->Append(std::string(600, 'z'), stop.get_token());
  EXPECT_FALSE(full.ok()) << "more bytes than the window were taken";
  bus().Resume();
  ASSERT_TRUE(WaitAcked(*writer, 2).ok());
}

TEST_P(BusConformance, WaitAckedEndsAtItsDeadlineAndOnStop) {
  CreateLog();
  std::unique_ptr<LogWriter> writer = TakeOver(log(), "marker");
  ASSERT_NE(writer, nullptr);
  bus().Pause();
  ASSERT_TRUE(Append(*writer, "m").ok());
  Status late = writer->WaitAcked(1, std::chrono::steady_clock::now() + std::chrono::milliseconds(20), {});
  EXPECT_EQ(late.ok() ? Errc::kInvalid : late.code(), Errc::kTimeout);
  std::stop_source stop;
  stop.request_stop();
  Status stopped = writer->WaitAcked(1, std::chrono::steady_clock::now() + kPatience, stop.get_token());
  EXPECT_EQ(stopped.ok() ? Errc::kInvalid : stopped.code(), Errc::kCancelled);
  bus().Resume();
  EXPECT_TRUE(WaitAcked(*writer, 1).ok());
}

TEST_P(BusConformance, ProgressIsReported) {
  CreateLog();
  auto calls = std::make_shared<std::atomic<int>>(0);
  WriterOptions options;
  options.on_progress = [calls] {
    ++*calls;
    calls->notify_all();
  };
  std::unique_ptr<LogWriter> writer = TakeOver(log(), "marker", options);
  ASSERT_NE(writer, nullptr);
  int before = *calls;
  AppendAcked(*writer, "m", 3);
  calls->wait(before);  // hangs (until the test's time limit) if nobody calls
  std::unique_ptr<Log> other = OpenLog();
  std::unique_ptr<LogWriter> rival = TakeOver(*other, "rival");
  ASSERT_NE(rival, nullptr);
  before = *calls;
  if (Append(*writer, "zombie").ok()) {
    EXPECT_EQ(WaitError(*writer).code(), Errc::kConflict);
    calls->wait(before);
  }
}

TEST_P(BusConformance, ManyMessagesArriveCompleteAndInOrder) {
  CreateLog();
  const int count = capabilities().many_messages;
  std::unique_ptr<LogWriter> writer = TakeOver(log(), "marker");
  ASSERT_NE(writer, nullptr);
  std::unique_ptr<Log> reader_log = OpenLog();
  std::unique_ptr<LogReader> reader = Read(*reader_log, FromEarliest{});
  std::jthread appender([&] {
    for (int i = 0; i < count; ++i) {
      if (!Append(*writer, "m" + std::to_string(i) + std::string(static_cast<size_t>(i % 300), '.')).ok()) return;
    }
  });
  ASSERT_EQ(Payloads(*reader, 1).at(0), "marker");
  for (int i = 0; i < count; ++i) {
    Result<Message> message = Next(*reader);
    ASSERT_TRUE(message.ok()) << i << ": " << message.error().message();
    ASSERT_EQ(message->payload, "m" + std::to_string(i) + std::string(static_cast<size_t>(i % 300), '.'));
  }
  EXPECT_TRUE(WaitAcked(*writer, static_cast<uint64_t>(count)).ok());
}

TEST_P(BusConformance, NothingAckedIsLostAndNoHoleIsLeftWhenTheServerIsKilled) {
  if (!capabilities().can_restart) GTEST_SKIP() << "does not apply: no server";
  CreateLog();
  std::unique_ptr<LogWriter> writer = TakeOver(log(), "marker");
  ASSERT_NE(writer, nullptr);
  std::jthread appender([&](std::stop_token stop) {
    for (int i = 0; !stop.stop_requested(); ++i) {
      if (!writer->Append("m" + std::to_string(i), stop).ok()) return;
    }
  });
  ASSERT_TRUE(WaitAcked(*writer, 500).ok());
  bus().Restart();
  // The writer may have died, which is said, or have survived; both leave a prefix.
  appender.request_stop();
  appender.join();
  uint64_t acked = writer->acked();
  writer.reset();
  SteadyTime give_up = std::chrono::steady_clock::now() + kPatience;
  Result<std::unique_ptr<LogWriter>> again = Error(Errc::kUnavailable, "not tried");
  auto decision = [](const std::optional<Message>&) -> Result<std::optional<std::string>> {
    return std::optional<std::string>("again");
  };
  while (!again.ok() && std::chrono::steady_clock::now() < give_up) {
    again = log().TakeOver(decision, {}, {});
  }
  ASSERT_TRUE(again.ok()) << again.error().message();
  std::vector<std::string> all = AllPayloads();
  ASSERT_GE(all.size(), acked + 2);
  EXPECT_EQ(all.front(), "marker");
  EXPECT_EQ(all.back(), "again");
  for (size_t i = 1; i + 1 < all.size(); ++i) {
    ASSERT_EQ(all[i], "m" + std::to_string(i - 1)) << "hole";
  }
}

}  // namespace
}  // namespace runnel::bus
