// What the conformance suite cannot know: credentials, TLS, stream settings, and hands inside the stream.
#include <fstream>

#include <gmock/gmock.h>

#include "tests/integration/nats_fixture.h"

namespace runnel::bus {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

using NatsSettings = NatsAdapter;
using NatsSecurity = NatsAdapter;
using NatsAccident = NatsAdapter;

constexpr const char* kOwnConfig =
    R"("name":"RUNNEL-app","subjects":["runnel.app.log"],"retention":"limits","num_replicas":1)";

TEST_F(NatsSettings, CreatedStreamIsFileBackedAndRefusesNewMessagesRatherThanLosingOldOnes) {
  StartServer();
  if (!running()) return;
  OpenOptions options;
  options.retention = std::chrono::hours(48);
  ASSERT_TRUE(Open(server_->Url("app"), options)->Create().ok());
  const Result<std::string> config = admin_->Api("STREAM.INFO.RUNNEL-app");
  ASSERT_TRUE(config.ok()) << config.error().message();
  EXPECT_THAT(*config, AllOf(HasSubstr(R"("storage":"file")"), HasSubstr(R"("discard":"new")"),
                             HasSubstr(R"("allow_direct":true)"), HasSubstr(R"("subjects":["runnel.app.log"])")));
  EXPECT_THAT(*config, AllOf(HasSubstr(R"("max_age":172800000000000)"), HasSubstr(R"("duplicate_window":120000000000)"),
                             HasSubstr(R"("num_replicas":1)")));
}

TEST_F(NatsSettings, InfoNamesHostAndStreamButNoSecret) {
  NatsServer::Options options;
  options.extra_config = "authorization { user: ann, password: secret1 }";
  StartServer(options);
  if (!running()) return;
  const std::unique_ptr<Log> log = Open("nats://ann:secret1@" + server_->hosts() + "/app");
  ASSERT_TRUE(log->Create().ok());
  const Result<LogInfo> info = log->Info();
  ASSERT_TRUE(info.ok());
  EXPECT_THAT(info->location, AllOf(HasSubstr(server_->hosts()), HasSubstr("RUNNEL-app"), Not(HasSubstr("secret1"))));
}

TEST_F(NatsSettings, DangerousStreamIsRefusedUnlessForced) {
  StartServer();
  if (!running()) return;
  const struct {
    const char* settings;
    const char* danger;
  } cases[] = {
      {R"("storage":"memory","discard":"new")", "memory"},
      {R"("storage":"file","discard":"old","max_msgs":100)", "max_msgs is 100: the oldest messages are thrown away"},
      {R"("storage":"file","discard":"new","max_bytes":100000)", "max_bytes is 100000: appends are refused"},
      {R"("storage":"file","discard":"old","max_msgs_per_subject":1)", "max_msgs_per_subject is 1"},
      {R"("storage":"file","discard":"new","max_msgs_per_subject":5)", "5: the oldest messages are thrown away"},
      {R"("storage":"file","discard":"new","discard_new_per_subject":true,"max_msgs_per_subject":5)", "5: appends are"},
      {R"("storage":"file","discard":"new","max_age":60000000000,"duplicate_window":1000000000)", "max_age is 60 s"},
      {R"("storage":"file","discard":"new","allow_rollup_hdrs":true)", "allow_rollup_hdrs"},
      {R"("storage":"file","discard":"new","no_ack":true)", "no_ack"},
  };
  OpenOptions force;
  force.force = true;
  const std::unique_ptr<Log> forced = Open(server_->Url("app"), force);
  for (const auto& one : cases) {
    const Result<std::string> made =
        admin_->Api("STREAM.CREATE.RUNNEL-app", std::string("{") + kOwnConfig + "," + one.settings + "}");
    ASSERT_TRUE(made.ok()) << made.error().message();
    const Result<LogInfo> info = log_->Info();
    ASSERT_TRUE(info.ok()) << info.error().message();
    ASSERT_EQ(info->dangers.size(), 1u) << one.settings;
    EXPECT_THAT(info->dangers[0], HasSubstr(one.danger));
    const Status created = log_->Create();
    ASSERT_FALSE(created.ok()) << one.settings;
    EXPECT_EQ(created.code(), Errc::kRefused);
    EXPECT_THAT(created.error().message(), HasSubstr(one.danger));
    EXPECT_EQ(log_->TakeOver(Marker("m"), {}, {}).code(), Errc::kRefused);
    EXPECT_TRUE(forced->Create().ok()) << one.settings;
    ASSERT_TRUE(admin_->Api("STREAM.DELETE.RUNNEL-app").ok());
  }
}

TEST_F(NatsSettings, LimitReachedUnderALeaderIsWaitedFor) {
  StartServer();
  if (!running()) return;
  ASSERT_TRUE(log_->Create().ok());
  std::unique_ptr<LogWriter> writer = Lead(*log_, "m1");
  AppendAcked(*writer, "a", 2);
  const std::string config = std::string("{") + kOwnConfig +
                             R"(,"storage":"file","discard":"new","max_age":604800000000000,)" +
                             R"("duplicate_window":120000000000,"max_msgs":)";
  ASSERT_TRUE(admin_->Api("STREAM.UPDATE.RUNNEL-app", config + "4}").ok());
  for (int i = 0; i < 3; ++i) (void)writer->Append("b" + std::to_string(i), {}).ok();
  const Error full = WaitError(*writer);
  EXPECT_EQ(full.code(), Errc::kUnavailable);
  EXPECT_THAT(full.message(), AllOf(HasSubstr("maximum messages exceeded"), HasSubstr("max_msgs")));
  EXPECT_TRUE(log_->Create().ok()) << "it leads this log, and what is in it stays there";
  const Result<std::unique_ptr<LogWriter>> early = log_->TakeOver(Marker("m2"), {}, {});
  ASSERT_EQ(early.code(), Errc::kUnavailable) << early.error().message();
  EXPECT_THAT(early.error().message(), AllOf(HasSubstr("maximum messages exceeded"), HasSubstr("max_msgs")));
  EXPECT_EQ(Open(server_->Url("app"))->Create().code(), Errc::kRefused) << "nobody begins at such a log";
  EXPECT_TRUE(log_->TrimBefore(StreamSeq(3)).ok());
  writer = Lead(*log_, "m3");
  ASSERT_NE(writer, nullptr);
  AppendAcked(*writer, "c", 1);
  EXPECT_THAT(Everything(*log_), ElementsAre("a1", "b0", "m3", "c0"));
  // What throws away old messages is another matter: acknowledged ones would be lost.
  ASSERT_TRUE(
      admin_->Api("STREAM.UPDATE.RUNNEL-app", std::string(config).replace(config.find("new"), 3, "old") + "4}").ok());
  EXPECT_EQ(log_->Create().code(), Errc::kRefused);
}

TEST_F(NatsSettings, StreamWithForeignSubjectsIsRefused) {
  StartServer();
  if (!running()) return;
  ASSERT_TRUE(admin_
                  ->Api("STREAM.CREATE.RUNNEL-app",
                        R"({"name":"RUNNEL-app","subjects":["runnel.app.>"],"storage":"file",)"
                        R"("discard":"new","retention":"limits","num_replicas":1})")
                  .ok());
  const Status created = log_->Create();
  ASSERT_FALSE(created.ok());
  EXPECT_EQ(created.code(), Errc::kRefused);
  EXPECT_THAT(created.error().message(), HasSubstr("foreign messages"));
}

TEST_F(NatsSettings, SubjectTakenByAnotherStreamIsRefused) {
  StartServer();
  if (!running()) return;
  ASSERT_TRUE(admin_->Api("STREAM.CREATE.OTHER", R"({"name":"OTHER","subjects":["runnel.>"],"storage":"file"})").ok());
  const Status created = log_->Create();
  ASSERT_FALSE(created.ok());
  EXPECT_EQ(created.code(), Errc::kRefused);
  EXPECT_THAT(created.error().message(), HasSubstr("overlap"));
}

TEST_F(NatsSettings, PayloadBoundFollowsTheServersAndTheStreamsLimits) {
  NatsServer::Options options;
  options.extra_config = "max_payload: 65536";
  StartServer(options);
  if (!running()) return;
  ASSERT_TRUE(log_->Create().ok());
  EXPECT_EQ(Lead(*log_, "m")->payload_bytes_max(), 65536u - 4096u);
  ASSERT_TRUE(
      admin_
          ->Api(
              "STREAM.UPDATE.RUNNEL-app",
              std::string("{") + kOwnConfig +
                  R"(,"storage":"file","discard":"new","max_msg_size":20000,"duplicate_window":120000000000,"max_age":604800000000000})")
          .ok());
  const std::unique_ptr<LogWriter> writer = Lead(*log_, "m");
  EXPECT_EQ(writer->payload_bytes_max(), 20000u - 4096u);
  ASSERT_TRUE(writer->Append(std::string(writer->payload_bytes_max(), 'x'), {}).ok());
  EXPECT_TRUE(writer->WaitAcked(1, Soon(), {}).ok());
}

TEST_F(NatsSettings, ServerWithoutJetStreamSaysSo) {
  if (!runnel::testing::RequirePeer(runnel::testing::DebianNatsServer(), "nats-server (apt)")) return;
  NatsServer::Options options;
  options.extra_config =
      "accounts { A { users: [ { user: a, password: a } ] } }";  // an account JetStream is not enabled for
  StartServer(options);
  if (!running()) return;
  const Status created = Open("nats://a:a@" + server_->hosts() + "/app")->Create();
  ASSERT_FALSE(created.ok());
  EXPECT_THAT(created.error().message(), HasSubstr("JetStream"));
}

TEST_F(NatsSecurity, WrongPasswordIsInvalidAndNamesServerAndUserOnly) {
  NatsServer::Options options;
  options.extra_config = "authorization { user: ann, password: right1 }";
  StartServer(options);
  if (!running()) return;
  const Status wrong = Open("nats://ann:wrong1@" + server_->hosts() + "/app")->Create();
  ASSERT_FALSE(wrong.ok());
  EXPECT_EQ(wrong.code(), Errc::kInvalid);
  EXPECT_THAT(wrong.error().message(),
              AllOf(HasSubstr(server_->hosts()), HasSubstr("ann"), HasSubstr("credentials"), Not(HasSubstr("wrong1"))));
  EXPECT_EQ(log_->Create().code(), Errc::kInvalid) << "no credentials at all";
  OpenOptions right;
  right.credentials.user = "ann";
  right.credentials.password = "right1";
  EXPECT_TRUE(Open(server_->Url("app"), right)->Create().ok());
}

TEST_F(NatsSecurity, TokenOpensTheDoor) {
  NatsServer::Options options;
  options.extra_config = "authorization { token: t0ken }";
  StartServer(options);
  if (!running()) return;
  OpenOptions token;
  token.credentials.token = "t0ken";
  EXPECT_TRUE(Open(server_->Url("app"), token)->Create().ok());
  token.credentials.token = "wrong";
  EXPECT_EQ(Open(server_->Url("app"), token)->Create().code(), Errc::kInvalid);
}

TEST_F(NatsSecurity, NkeySeedFileOpensTheDoor) {
  NatsServer::Options options;
  options.extra_config =
      "authorization { users: [ { nkey: UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4 } ] }";
  StartServer(options);
  if (!running()) return;
  runnel::testing::TempDir dir;
  std::ofstream(dir / "seed") << "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY\n";
  OpenOptions nkey;
  nkey.credentials.nkey_file = dir / "seed";
  const Status created = Open(server_->Url("app"), nkey)->Create();
  EXPECT_TRUE(created.ok()) << created.error().message();
  nkey.credentials.nkey_file = dir / "absent";
  EXPECT_EQ(Open(server_->Url("app"), nkey)->Create().code(), Errc::kInvalid);
}

TEST_F(NatsSecurity, MissingCredentialsFileIsNamed) {
  OpenOptions options;
  options.credentials.creds_file = "/nonexistent/app.creds";
  const Status created = Open("nats://127.0.0.1:1/app", options)->Create();
  ASSERT_FALSE(created.ok());
  EXPECT_EQ(created.code(), Errc::kInvalid);
  EXPECT_THAT(created.error().message(), HasSubstr("/nonexistent/app.creds"));
}

// A certificate authority and one server certificate for `name` ("IP:127.0.0.1") in `dir`, named after `prefix`.
void MakeCertificate(const runnel::testing::TempDir& dir, const std::string& prefix, const std::string& name) {
  const std::string script =
      "cd " + dir.path().string() + " && openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=" + prefix +
      "-ca -keyout " + prefix + "-ca.key -out " + prefix +
      "-ca.pem && openssl req -newkey rsa:2048 -nodes -subj /CN=server -keyout " + prefix + ".key -out " + prefix +
      ".csr && echo subjectAltName=" + name + " > ext && openssl x509 -req -in " + prefix + ".csr -CA " + prefix +
      "-ca.pem -CAkey " + prefix + "-ca.key -CAcreateserial -days 2 -extfile ext -out " + prefix + ".pem";
  runnel::testing::ChildProcess::Options child;
  child.argv = {"sh", "-c", script};
  child.output = dir / "openssl.log";
  Result<std::unique_ptr<runnel::testing::ChildProcess>> made = runnel::testing::ChildProcess::Start(std::move(child));
  ASSERT_TRUE(made.ok());
  ASSERT_EQ((*made)->Wait(seconds(60)), 0) << (*made)->Output();
}

TEST_F(NatsSecurity, TlsIsUsedAndTheServersCertificateMustFit) {
  if (!runnel::testing::RequirePeer(runnel::testing::FindProgram("openssl"), "openssl (apt)")) return;
  runnel::testing::TempDir dir;
  MakeCertificate(dir, "good", "IP:127.0.0.1");
  MakeCertificate(dir, "other", "DNS:elsewhere.example");
  for (const char* certificate : {"good", "other"}) {
    NatsServer::Options options;
    options.extra_config = "tls { cert_file: \"" + (dir / (certificate + std::string(".pem"))).string() +
                           "\", key_file: \"" + (dir / (certificate + std::string(".key"))).string() + "\" }";
    StartServer(options);
    if (!running()) return;
    const std::string url = "tls://" + server_->hosts() + "/app";
    OpenOptions own_ca;
    own_ca.credentials.tls_ca_file = dir / (certificate + std::string("-ca.pem"));
    const Status created = Open(url, own_ca)->Create();
    if (std::string_view(certificate) == "good") {
      EXPECT_TRUE(created.ok()) << created.error().message();
      OpenOptions wrong_ca;
      wrong_ca.credentials.tls_ca_file = dir / "other-ca.pem";
      EXPECT_FALSE(Open(url, wrong_ca)->Create().ok()) << "signed by an unknown authority";
      // nats.c switches to TLS when the server demands it; then the certificate is verified like with tls://.
      EXPECT_FALSE(log_->Create().ok()) << "signed by an authority the system does not know";
    } else {
      EXPECT_FALSE(created.ok()) << "a certificate for another host";
      EXPECT_FALSE(Open(server_->Url("app"), own_ca)->Create().ok()) << "the same, asked for by the server";
    }
  }
}

TEST_F(NatsAccident, UnreachableServersAreAllNamed) {
  const std::unique_ptr<Log> log = Open("nats://127.0.0.1:1,127.0.0.1:2/app");
  const Status created = log->Create();
  ASSERT_FALSE(created.ok());
  EXPECT_EQ(created.code(), Errc::kUnavailable);
  EXPECT_THAT(created.error().message(), AllOf(HasSubstr("127.0.0.1:1"), HasSubstr("127.0.0.1:2")));
  EXPECT_EQ(log->Read(FromEarliest{}).code(), Errc::kUnavailable);
  EXPECT_EQ(log->TakeOver(Marker("m"), {}, {}).code(), Errc::kUnavailable);
}

TEST_F(NatsAccident, SecondServerIsUsedWhenTheFirstIsAway) {
  StartServer();
  if (!running()) return;
  for (const std::string& hosts : {"127.0.0.1:1," + server_->hosts(), server_->hosts() + ",127.0.0.1:1"}) {
    EXPECT_TRUE(Open("nats://" + hosts + "/app")->Create().ok()) << hosts;
  }
}

TEST_F(NatsAccident, MessageDeletedInTheMiddleIsAGapForWhoHasNotReadIt) {
  StartServer();
  if (!running()) return;
  ASSERT_TRUE(log_->Create().ok());
  const std::unique_ptr<LogWriter> writer = Lead(*log_, "marker");
  AppendAcked(*writer, "m", 10);
  ASSERT_TRUE(admin_->Api("STREAM.MSG.DELETE.RUNNEL-app", R"({"seq":5,"no_erase":true})").ok());
  const Result<std::unique_ptr<LogReader>> reader = log_->Read(FromEarliest{});
  ASSERT_TRUE(reader.ok());
  for (uint64_t seq = 1; seq <= 4; ++seq) EXPECT_EQ((*reader)->Next(Soon(), {})->seq, StreamSeq(seq));
  const Result<Message> gap = (*reader)->Next(Soon(), {});
  ASSERT_FALSE(gap.ok());
  EXPECT_EQ(gap.code(), Errc::kGap);
  EXPECT_THAT(gap.error().message(), HasSubstr("5"));
  EXPECT_EQ((*log_->Get(StreamSeq(5)))->seq, StreamSeq(6));
}

TEST_F(NatsAccident, DeletedTailIsVisibleToTheNextTakeOverAndToReaders) {
  StartServer();
  if (!running()) return;
  ASSERT_TRUE(log_->Create().ok());
  std::unique_ptr<LogWriter> writer = Lead(*log_, "marker");
  AppendAcked(*writer, "m", 10);
  Result<std::unique_ptr<LogReader>> reader = log_->Read(FromSequence{StreamSeq(11)});
  ASSERT_TRUE(reader.ok());
  writer.reset();
  ASSERT_TRUE(admin_->Api("STREAM.MSG.DELETE.RUNNEL-app", R"({"seq":11,"no_erase":true})").ok());
  const Result<std::optional<Message>> tail = log_->Tail();
  ASSERT_TRUE(tail.ok() && tail->has_value());
  EXPECT_EQ((*tail)->payload, "m8");
  std::string shown;
  const Result<std::unique_ptr<LogWriter>> next = log_->TakeOver(
      [&shown](const std::optional<Message>& seen) -> Result<std::optional<std::string>> {
        shown = seen.has_value() ? seen->payload : "";
        return std::optional<std::string>("next");
      },
      {}, {});
  ASSERT_TRUE(next.ok()) << next.error().message();
  EXPECT_EQ(shown, "m8");
  EXPECT_EQ((*next)->acked_seq(), StreamSeq(12));
  EXPECT_EQ((*reader)->Next(Soon(), {}).code(), Errc::kGap);
}

TEST_F(NatsAccident, ReaderBeyondTheEndSeesThatTheLogHasLostIt) {
  StartServer();
  if (!running()) return;
  ASSERT_TRUE(log_->Create().ok());
  const std::unique_ptr<LogWriter> writer = Lead(*log_, "marker");
  AppendAcked(*writer, "m", 3);
  const Result<std::unique_ptr<LogReader>> reader = log_->Read(FromSequence{StreamSeq(9)});
  ASSERT_TRUE(reader.ok()) << reader.error().message();
  const Result<Message> next = (*reader)->Next(Soon(), {});
  ASSERT_FALSE(next.ok());
  EXPECT_EQ(next.code(), Errc::kGap);
  EXPECT_THAT(next.error().message(), HasSubstr("lost its end"));
}

TEST_F(NatsAccident, PurgeOfUnreadMessagesIsNoticedByAnIdleReader) {
  StartServer();
  if (!running()) return;
  ASSERT_TRUE(log_->Create().ok());
  const std::unique_ptr<LogWriter> writer = Lead(*log_, "marker");
  const Result<std::unique_ptr<LogReader>> reader = log_->Read(FromEnd{});
  ASSERT_TRUE(reader.ok());
  // Both happen before the reader asks for its first message.
  AppendAcked(*writer, "m", 3);
  ASSERT_TRUE(admin_->Api("STREAM.PURGE.RUNNEL-app").ok());
  const Result<Message> next = (*reader)->Next(Soon(), {});
  ASSERT_FALSE(next.ok()) << next->payload;
  EXPECT_EQ(next.code(), Errc::kGap) << next.error().message();
}

TEST_F(NatsAccident, ForeignMessageEndsTheWriterAndNothingOfItFollows) {
  StartServer();
  if (!running()) return;
  ASSERT_TRUE(log_->Create().ok());
  for (const char* id : {"", "foreign-1"}) {
    const std::unique_ptr<LogWriter> writer = Lead(*log_, "marker");
    std::jthread appender([&writer] {
      for (int i = 0; writer->Append("m" + std::to_string(i), {}).ok(); ++i) {
      }
    });
    ASSERT_TRUE(writer->WaitAcked(100, Soon(), {}).ok());
    ASSERT_TRUE(admin_->Publish("runnel.app.log", "foreign", id).ok());
    EXPECT_EQ(WaitError(*writer).code(), Errc::kConflict);
    appender.join();
    std::vector<std::string> all = Everything(*log_);
    ASSERT_GT(all.size(), 101u);
    EXPECT_EQ(all.back(), "foreign");
    for (size_t i = all.size() - 2; all[i] != "marker"; --i) {
      if (all[i - 1] == "marker") {
        EXPECT_EQ(all[i], "m0");
      } else {
        EXPECT_EQ(std::atoi(all[i].c_str() + 1), std::atoi(all[i - 1].c_str() + 1) + 1);
      }
    }
  }
}

TEST_F(NatsAccident, ForgottenLastIdDoesNotStopTheNextWriter) {
  StartServer();
  if (!running()) return;
  // A restarted server remembers ids within the dedupe window only; here it is as short as the server allows.
  ASSERT_TRUE(
      admin_
          ->Api("STREAM.CREATE.RUNNEL-app",
                std::string("{") + kOwnConfig + R"(,"storage":"file","discard":"new","duplicate_window":100000000})")
          .ok());
  std::unique_ptr<LogWriter> writer = Lead(*log_, "marker");
  AppendAcked(*writer, "a", 2);
  const WallTime stored = (*log_->Tail())->stored_at;
  server_->Stop();
  while (std::chrono::system_clock::now() < stored + milliseconds(150)) std::this_thread::yield();
  ASSERT_TRUE(server_->Restart().ok());
  writer = Lead(*log_, "");
  ASSERT_NE(writer, nullptr);
  AppendAcked(*writer, "b", 2);
  EXPECT_THAT(Everything(*log_), ElementsAre("marker", "a0", "a1", "b0", "b1"));
}

TEST_F(NatsAccident, FencesOfAContestedTakeOverAreInvisible) {
  StartServer();
  if (!running()) return;
  ASSERT_TRUE(log_->Create().ok());
  const std::unique_ptr<LogWriter> zombie = Lead(*log_, "zombie");
  std::jthread appender([&zombie] {
    for (int i = 0; zombie->Append("z" + std::to_string(i), {}).ok(); ++i) {
    }
  });
  ASSERT_TRUE(zombie->WaitAcked(1000, Soon(), {}).ok());
  const std::unique_ptr<LogWriter> leader = Lead(*log_, "leader");
  ASSERT_NE(leader, nullptr);
  appender.join();
  EXPECT_EQ(zombie->error().code(), Errc::kConflict) << zombie->error().error().message();
  AppendAcked(*leader, "l", 2);
  const std::vector<std::string> all = Everything(*log_);
  EXPECT_THAT(std::vector<std::string>(all.end() - 3, all.end()), ElementsAre("leader", "l0", "l1"));
  EXPECT_THAT(all[all.size() - 4], ::testing::StartsWith("z"));
  EXPECT_EQ(std::count(all.begin(), all.end(), ""), 0);
}

}  // namespace
}  // namespace runnel::bus
