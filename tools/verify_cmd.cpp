// runnel verify FILE [--against BUS|FILE] [--deep]: is this file exactly the image its position names?
#include <cstdio>
#include <memory>
#include <string>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "bus/open.h"
#include "ltx/base/progress.h"
#include "publisher/log_head.h"
#include "tools/command.h"
#include "tools/image_check.h"

namespace runnel::tools {
namespace {

struct VerifyOptions {
  std::string path;
  std::string against;
  bool deep = false;
};

// What the file is compared with: its own noted position, the head of a log, or another file.
struct Expected {
  std::string what;
  Checksum checksum;
};

Result<std::optional<Expected>> ExpectedOf(const VerifyOptions& options, const ImageFacts& facts) {
  if (options.against.empty()) {
    if (!facts.position) return std::optional<Expected>();
    return std::optional(Expected{"its position " + ToString(*facts.position), facts.position->checksum});
  }
  if (options.against.find("://") == std::string::npos) {
    TRY_ASSIGN(ImageFacts other, CheckImage(options.against, {}));
    return std::optional(Expected{options.against, other.checksum});
  }
  TRY_ASSIGN(std::unique_ptr<bus::Log> log, bus::OpenLog(options.against, {}));
  TRY_ASSIGN(publisher::LogHead head, publisher::ReadLogHead(*log));
  return std::optional(Expected{"the log's " + ToString(head.position), head.position.checksum});
}

int Verify(const Context& context, const VerifyOptions& options) {
  Progress bar("verify", ProgressUnit::kBytes, 0);
  Result<ImageFacts> facts = CheckImage(options.path, [&bar](uint64_t done_bytes, uint64_t total_bytes) {
    bar.SetTotal(total_bytes);
    bar.Set(done_bytes);
  });
  if (!facts.ok()) return Fail(facts.error());
  Result<std::optional<Expected>> expected = ExpectedOf(options, *facts);
  if (!expected.ok()) return Fail(expected.error());
  bool equal = !*expected || (*expected)->checksum == facts->checksum;
  std::string integrity;
  if (options.deep) {
    Result<std::string> checked = IntegrityCheck(options.path);
    if (!checked.ok()) return Fail(checked.error());
    integrity = *checked;
  }
  bool ok = equal && (integrity.empty() || integrity == "ok");
  if (context.json) {
    nlohmann::json json = {{"path", options.path},
                           {"page_size", facts->page_size},
                           {"page_count", facts->page_count},
                           {"checksum", ToString(facts->checksum)},
                           {"compared_with", *expected ? (*expected)->what : ""},
                           {"equal", equal},
                           {"ok", ok}};
    json["position"] = facts->position ? nlohmann::json(ToString(*facts->position)) : nlohmann::json();
    if (options.deep) json["integrity_check"] = integrity;
    std::printf("%s\n", json.dump(2).c_str());
    return ok ? kExitOk : kExitFailed;
  }
  std::printf("%s: %u pages of %u bytes, checksum %s\n", options.path.c_str(), facts->page_count, facts->page_size,
              ToString(facts->checksum).c_str());
  if (*expected) std::printf("%s %s\n", equal ? "equal to" : "NOT equal to", (*expected)->what.c_str());
  if (options.deep) std::printf("integrity_check: %s\n", integrity.c_str());
  return ok ? kExitOk : kExitFailed;
}

}  // namespace

void AddVerify(CLI::App& app, Context& context) {
  auto options = std::make_shared<VerifyOptions>();
  CLI::App* verb =
      app.add_subcommand("verify", "Check a database file, byte for byte, against the position it should have");
  verb->fallthrough();
  verb->add_option("FILE", options->path, "Replica or source database")->required();
  verb->add_option("--against", options->against, "Compare with the head of this bus, or with another file");
  verb->add_flag("--deep", options->deep, "Run SQLite's integrity_check too");
  verb->callback([&context, options] { context.run = [&context, options] { return Verify(context, *options); }; });
}

}  // namespace runnel::tools
