#include "ltx/base/config_reader.h"

#include <sys/stat.h>

#include <gtest/gtest.h>

#include "ltx/base/fs.h"
#include "tests/support/temp_dir.h"

namespace runnel {
namespace {

using std::chrono::milliseconds;

class ConfigTest : public ::testing::Test {
 protected:
  ConfigMap Read(std::string_view text) {
    Result<std::unique_ptr<Config>> config = Config::Parse(text, "runnel.yml", [](const std::string& name) {
      return name == "HOST" ? std::optional<std::string>("db.example") : std::nullopt;
    });
    EXPECT_TRUE(config.ok()) << config.error().message();
    config_ = std::move(*config);
    return config_->root();
  }
  static std::string ParseTrouble(std::string_view text) {
    Result<std::unique_ptr<Config>> config =
        Config::Parse(text, "runnel.yml", [](const std::string&) { return std::optional<std::string>(); });
    return config.ok() ? "" : config.error().message();
  }
  std::string Trouble() {
    Status status = config_->Finish();
    return status.ok() ? "" : status.error().message();
  }

  std::unique_ptr<Config> config_;
};

TEST_F(ConfigTest, ReadsEveryKindOfValue) {
  ConfigMap root = Read(
      "text: hello\nflag: on\nnumber: 42\nwait: 10s\nlimit: 64MiB\nmode: poll\nlist: [a, b]\none: c\n"
      "section:\n  inner: x\ndbs:\n  - path: /a\n  - path: /b\n");
  EXPECT_EQ(root.Text("text"), "hello");
  EXPECT_TRUE(root.Bool("flag", false));
  EXPECT_EQ(root.Integer("number", 0, 1, 100), 42);
  EXPECT_EQ(root.Duration("wait", milliseconds(1)), milliseconds(10000));
  EXPECT_EQ(root.Size("limit", 0), uint64_t{64} << 20);
  EXPECT_EQ(root.Choice<int>("mode", {{"auto", 1}, {"poll", 2}}, 1), 2);
  EXPECT_EQ(root.Texts("list"), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(root.Texts("one"), std::vector<std::string>{"c"});
  EXPECT_EQ(root.Map("section").Text("inner"), "x");
  std::vector<ConfigMap> dbs = root.Maps("dbs");
  ASSERT_EQ(dbs.size(), 2u);
  EXPECT_EQ(dbs[1].RequiredText("path"), "/b");
  EXPECT_EQ(dbs[1].path(), "dbs[1]");
  EXPECT_EQ(Trouble(), "");
}

TEST_F(ConfigTest, WhatIsAbsentOrEmptyTakesTheFallback) {
  ConfigMap root = Read("empty:\n");
  EXPECT_EQ(root.Text("empty", "default"), "default");
  EXPECT_FALSE(root.Has("empty"));
  EXPECT_EQ(root.Duration("wait", milliseconds(7)), milliseconds(7));
  EXPECT_EQ(root.Map("section").Map("deeper").Text("key", "x"), "x");
  EXPECT_TRUE(root.Maps("dbs").empty());
  EXPECT_EQ(Trouble(), "");
  Read("");
  EXPECT_EQ(Trouble(), "");
}

TEST_F(ConfigTest, UnknownKeysAreErrorsWithTheirLineAndANearWord) {
  ConfigMap root = Read("dbs:\n  - bus: file:///x\n    pth: /a\nxyzzy: 1\n");
  for (ConfigMap db : root.Maps("dbs")) {
    db.Text("path");
    db.Text("bus");
  }
  EXPECT_EQ(Trouble(),
            "runnel.yml:3: unknown key \"pth\" in dbs[0], did you mean \"path\"?; runnel.yml:4: unknown key \"xyzzy\"");
}

TEST_F(ConfigTest, EveryMalformedValueIsNotedWithItsPlace) {
  ConfigMap root = Read("wait: 10\nlimit: lots\nnumber: 1.5\nbig: 200\nmode: loud\nflag: maybe\ntext: [a]\n");
  EXPECT_EQ(root.Duration("wait", milliseconds(3)), milliseconds(3));
  EXPECT_EQ(root.Size("limit", 4), 4u);
  EXPECT_EQ(root.Integer("number", 5), 5);
  EXPECT_EQ(root.Integer("big", 6, 1, 100), 6);
  EXPECT_EQ(root.Choice<int>("mode", {{"auto", 1}, {"poll", 2}}, 1), 1);
  EXPECT_TRUE(root.Bool("flag", true));
  EXPECT_EQ(root.Text("text"), "");
  std::string trouble = Trouble();
  for (const char* part :
       {"runnel.yml:1: wait: \"10\" is not a duration", "runnel.yml:2: limit: \"lots\" is not a size",
        "runnel.yml:3: number: \"1.5\" is not a whole number", "runnel.yml:4: big: 200 is not between 1 and 100",
        "runnel.yml:5: mode: \"loud\" is not one of auto, poll", "runnel.yml:6: flag: \"maybe\"",
        "runnel.yml:7: text is a list, expected a single value"}) {
    EXPECT_NE(trouble.find(part), std::string::npos) << part << "\n" << trouble;
  }
}

TEST_F(ConfigTest, AMissingTextNamesItsSection) {
  ConfigMap root = Read("dbs:\n  - bus: x\n");
  for (ConfigMap db : root.Maps("dbs")) {
    db.RequiredText("path");
    db.Text("bus");
  }
  EXPECT_EQ(Trouble(), "runnel.yml:2: \"path\" is missing in dbs[0]");
}

TEST_F(ConfigTest, NeverIsADurationWhereItIsAllowed) {
  ConfigMap root = Read("coalesce-after: never\nother: never\n");
  EXPECT_EQ(root.DurationOrNever("coalesce-after", milliseconds(1000)), std::nullopt);
  EXPECT_EQ(root.DurationOrNever("absent", milliseconds(1000)), milliseconds(1000));
  root.Duration("other", milliseconds(1));
  EXPECT_NE(Trouble().find("runnel.yml:2: other: \"never\" is not a duration"), std::string::npos);
}

TEST_F(ConfigTest, EnvironmentVariablesAreExpandedInValues) {
  ConfigMap root = Read("bus: nats://${HOST}:4222/${HOST}\nliteral: $${HOST} costs $5\n");
  EXPECT_EQ(root.Text("bus"), "nats://db.example:4222/db.example");
  EXPECT_EQ(root.Text("literal"), "${HOST} costs $5");
  EXPECT_EQ(ParseTrouble("a: 1\nbus: ${NOT_SET}\n"), "runnel.yml:2: bus: environment variable NOT_SET is not set");
  EXPECT_EQ(ParseTrouble("bus: ${HOST\n"), "runnel.yml:1: bus: \"${\" without \"}\"");
}

TEST_F(ConfigTest, WhatIsNotOneMappingIsRefusedWithItsLine) {
  EXPECT_NE(ParseTrouble("a: 1\nb: [1, 2\n").find("runnel.yml:"), std::string::npos);
  EXPECT_NE(ParseTrouble("- a\n- b\n").find("expected \"key: value\" lines"), std::string::npos);
  EXPECT_EQ(ParseTrouble("a: 1\n---\nb: 2\n"), "runnel.yml:2: a second YAML document");
  EXPECT_EQ(ParseTrouble("a: 1\nb: 2\na: 3\n"), "runnel.yml:3: key \"a\" is there twice, first in line 1");
}

TEST_F(ConfigTest, HostileFilesAreBounded) {
  std::string bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n";
  for (char c = 'b'; c <= 'j'; ++c) {
    std::string previous = std::string("*") + static_cast<char>(c - 1);
    bomb += std::string(1, c) + ": &" + c + " [";
    for (int i = 0; i < 10; ++i) bomb += (i > 0 ? ", " : "") + previous;
    bomb += "]\n";
  }
  EXPECT_NE(ParseTrouble(bomb).find("more than 100000 values"), std::string::npos);
  // Found by the fuzzer: yaml-cpp by itself takes this for documents without end.
  EXPECT_EQ(ParseTrouble(", x]\nf\n"), "runnel.yml:1: a second YAML document");
  // Few values, but each a copy of a large one, in itself or in its place.
  std::string copies = "a: &a " + std::string(100000, 'x') + "\nb: [*a";
  for (int i = 0; i < 1000; ++i) copies += ", *a";
  EXPECT_NE(ParseTrouble(copies + "]\n").find("more than 16 MiB of text"), std::string::npos);
  std::string far = std::string(1000, 'k') + ":\n  b: [0";
  for (int i = 0; i < 50000; ++i) far += ", 0";
  EXPECT_NE(ParseTrouble(far + "]\n").find("more than 16 MiB of text"), std::string::npos);
  EXPECT_NE(ParseTrouble("a: " + std::string(40, '[') + std::string(40, ']')).find("nested too deeply"),
            std::string::npos);
  EXPECT_NE(ParseTrouble("a: " + std::string(100000, '[')), "");
}

TEST_F(ConfigTest, AProblemOnlyTheReaderSeesGetsItsPlace) {
  ConfigMap root = Read("dbs:\n  - path: /a\n    bus: x\n");
  ConfigMap db = root.Maps("dbs")[0];
  db.Text("path");
  db.Refuse("bus", "is not a URL");
  EXPECT_EQ(Trouble(), "runnel.yml:3: dbs[0].bus: is not a URL");
}

TEST_F(ConfigTest, WarnsOfSecretsOthersCanRead) {
  testing::TempDir dir;
  std::string path = (dir / "runnel.yml").string();
  auto warning_of = [&path](std::string_view text, mode_t mode) {
    EXPECT_TRUE(WriteFileAtomically(path, AsBytes(text)).ok());
    EXPECT_EQ(::chmod(path.c_str(), mode), 0);
    Result<std::unique_ptr<Config>> config = Config::Load(path);
    EXPECT_TRUE(config.ok());
    (*config)->root().Text("bus");
    (*config)->root().Secret("token");
    return (*config)->SecretsWarning().value_or("");
  };
  EXPECT_NE(warning_of("bus: nats://user:pw@host/app\n", 0644).find("(mode 0644): chmod 600"), std::string::npos);
  EXPECT_NE(warning_of("token: abc\n", 0640), "");
  EXPECT_EQ(warning_of("token: abc\n", 0600), "");
  EXPECT_EQ(warning_of("bus: nats://user@host/app\n", 0644), "");
  EXPECT_EQ(warning_of("token: ${HOME}\n", 0644), "");
}

TEST_F(ConfigTest, AFileThatIsNotThereIsNotFound) {
  EXPECT_EQ(Config::Load("/nonexistent/runnel.yml").code(), Errc::kNotFound);
}

TEST(NearestWord, IsEmptyWhenNothingIsNear) {
  std::vector<std::string_view> known{"path", "bus", "heartbeat-interval"};
  EXPECT_EQ(NearestWord("paht", known), "path");
  EXPECT_EQ(NearestWord("heartbeat", known), "");
  EXPECT_EQ(NearestWord("heartbeat_interval", known), "heartbeat-interval");
  EXPECT_EQ(NearestWord("zzz", known), "");
}

}  // namespace
}  // namespace runnel
