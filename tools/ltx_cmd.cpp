// runnel ltx dump|verify|list|apply|compact PATH...: look into LTX files.
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "ltx/base/fs.h"
#include "ltx/base/time.h"
#include "ltx/format/checksum.h"
#include "ltx/format/compactor.h"
#include "ltx/format/decoder.h"
#include "tools/command.h"
#include "tools/file_stream.h"

namespace runnel::tools {
namespace {

struct FileFacts {
  ltx::Header header;
  ltx::Trailer trailer;
  uint64_t pages = 0;
  uint64_t bytes = 0;
};

// Reads a whole file through the strict decoder; `on_page` may look at each page.
template <typename OnPage>
Result<FileFacts> ReadLtx(const std::string& path, OnPage on_page) {
  TRY_ASSIGN(std::unique_ptr<FileSource> source, FileSource::Open(path));
  ltx::Decoder decoder(*source);
  FileFacts facts;
  auto read = [&]() -> Status {
    TRY_ASSIGN(facts.header, decoder.Begin());
    while (true) {
      TRY_ASSIGN(std::optional<ltx::Page> page, decoder.Next());
      if (!page) break;
      ++facts.pages;
      TRY(on_page(facts.header, *page));
    }
    TRY_ASSIGN(facts.trailer, decoder.Finish());
    return Ok();
  };
  Status status = read();
  if (!status.ok()) return status.error().With(path);
  facts.bytes = source->bytes_read();
  return facts;
}

nlohmann::json ToJson(const std::string& path, const FileFacts& facts) {
  const ltx::Header& header = facts.header;
  return {{"path", path},
          {"min_txid", ToString(header.min_txid)},
          {"max_txid", ToString(header.max_txid)},
          {"page_size", header.page_size.raw()},
          {"commit", header.commit},
          {"pages", facts.pages},
          {"bytes", facts.bytes},
          {"timestamp_ms", header.timestamp_ms},
          {"pre_apply_checksum", ToString(header.pre_apply_checksum)},
          {"post_apply_checksum", ToString(facts.trailer.post_apply_checksum)},
          {"file_checksum", ToString(Checksum(facts.trailer.file_checksum))},
          {"wal_offset", header.wal_offset},
          {"wal_bytes", header.wal_bytes},
          {"no_checksum", header.no_checksum}};
}

int List(const Context& context, const std::vector<std::string>& paths) {
  nlohmann::json all = nlohmann::json::array();
  if (!context.json)
    std::printf("%-16s  %-16s  %8s  %8s  %10s  %s\n", "min_txid", "max_txid", "commit", "pages", "bytes", "post_apply");
  for (const std::string& path : paths) {
    Result<FileFacts> facts = ReadLtx(path, [](const ltx::Header&, const ltx::Page&) { return Ok(); });
    if (!facts.ok()) return Fail(facts.error());
    if (context.json) {
      all.push_back(ToJson(path, *facts));
      continue;
    }
    std::printf("%s  %s  %8u  %8lu  %10lu  %s\n", ToString(facts->header.min_txid).c_str(),
                ToString(facts->header.max_txid).c_str(), facts->header.commit, facts->pages, facts->bytes,
                ToString(facts->trailer.post_apply_checksum).c_str());
  }
  if (context.json) std::printf("%s\n", all.dump(2).c_str());
  return kExitOk;
}

int Verify(const Context& context, const std::vector<std::string>& paths) {
  int bad = 0;
  nlohmann::json all = nlohmann::json::array();
  for (const std::string& path : paths) {
    Result<FileFacts> facts = ReadLtx(path, [](const ltx::Header&, const ltx::Page&) { return Ok(); });
    if (!facts.ok()) {
      ++bad;
      if (!context.json) std::fprintf(stderr, "%s\n", facts.error().message().c_str());
    }
    all.push_back({{"path", path}, {"ok", facts.ok()}, {"error", facts.ok() ? "" : facts.error().message()}});
  }
  if (context.json) {
    std::printf("%s\n", all.dump(2).c_str());
  } else {
    std::printf("%zu ok, %d damaged\n", paths.size() - static_cast<size_t>(bad), bad);
  }
  return bad == 0 ? kExitOk : kExitFailed;
}

int Dump(const Context& context, const std::vector<std::string>& paths) {
  for (const std::string& path : paths) {
    nlohmann::json pages = nlohmann::json::array();
    std::string text;
    Result<FileFacts> facts = ReadLtx(path, [&](const ltx::Header&, const ltx::Page& page) {
      std::string checksum = ToString(ltx::PageChecksum(page.pgno, page.data));
      if (context.json) {
        pages.push_back({{"pgno", page.pgno.raw()}, {"checksum", checksum}});
      } else {
        text += "  page " + std::to_string(page.pgno.raw()) + "  " + checksum + "\n";
      }
      return Ok();
    });
    if (!facts.ok()) return Fail(facts.error());
    nlohmann::json json = ToJson(path, *facts);
    if (context.json) {
      json["page_list"] = std::move(pages);
      std::printf("%s\n", json.dump(2).c_str());
      continue;
    }
    for (const auto& [key, value] : json.items()) {
      std::printf("%-20s %s\n", key.c_str(),
                  value.is_string() ? value.get<std::string>().c_str() : value.dump().c_str());
    }
    std::printf("%s", text.c_str());
  }
  return kExitOk;
}

// Each file is verified from end to end before its first page is written.
Status ApplyFile(const std::string& path, int fd) {
  TRY_ASSIGN([[maybe_unused]] FileFacts checked,
             ReadLtx(path, [](const ltx::Header&, const ltx::Page&) { return Ok(); }));
  TRY_ASSIGN(FileFacts facts, ReadLtx(path, [fd](const ltx::Header& header, const ltx::Page& page) -> Status {
               off_t offset = static_cast<off_t>(uint64_t{page.pgno.raw() - 1} * header.page_size.raw());
               ssize_t written = ::pwrite(fd, page.data.data(), page.data.size(), offset);
               return written == static_cast<ssize_t>(page.data.size()) ? Ok() : Status(ErrnoError(errno, "write"));
             }));
  off_t size = static_cast<off_t>(uint64_t{facts.header.commit} * facts.header.page_size.raw());
  return ::ftruncate(fd, size) == 0 ? Ok() : Status(ErrnoError(errno, "truncate"));
}

int Apply(const std::string& database, const std::vector<std::string>& paths) {
  int fd = ::open(database.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return Fail(ErrnoError(errno, database));
  Status status = Ok();
  for (const std::string& path : paths) {
    status = ApplyFile(path, fd);
    if (!status.ok()) break;
  }
  if (status.ok() && ::fsync(fd) != 0) status = ErrnoError(errno, database);
  ::close(fd);
  if (!status.ok()) return Fail(status.error());
  std::printf("%zu files applied to %s\n", paths.size(), database.c_str());
  return kExitOk;
}

int Compact(const std::string& output, bool no_checksum, const std::vector<std::string>& paths) {
  std::vector<std::unique_ptr<FileSource>> sources;
  std::vector<ltx::ByteSource*> inputs;
  for (const std::string& path : paths) {
    Result<std::unique_ptr<FileSource>> source = FileSource::Open(path);
    if (!source.ok()) return Fail(source.error());
    inputs.push_back(source->get());
    sources.push_back(std::move(*source));
  }
  std::string temporary = output + ".tmp";
  Result<std::unique_ptr<FileSink>> sink = FileSink::Create(temporary);
  if (!sink.ok()) return Fail(sink.error());
  auto compacted = ltx::Compact(inputs, **sink, no_checksum ? ltx::ChecksumMode::kDrop : ltx::ChecksumMode::kKeep);
  Status status = compacted.ok() ? (*sink)->Close() : Status(compacted.error());
  std::error_code ec;
  if (status.ok()) std::filesystem::rename(temporary, output, ec);
  if (!status.ok()) {
    std::filesystem::remove(temporary, ec);
    return Fail(status.error());
  }
  if (ec) return Fail(ErrnoError(ec.value(), output));
  std::printf("%zu files compacted into %s\n", paths.size(), output.c_str());
  return kExitOk;
}

}  // namespace

void AddLtx(CLI::App& app, Context& context) {
  CLI::App* ltx = app.add_subcommand("ltx", "Look into LTX files")->require_subcommand(1);
  auto paths = std::make_shared<std::vector<std::string>>();
  auto output = std::make_shared<std::string>();
  auto keep = std::make_shared<bool>(false);
  auto add = [&](const char* name, const char* help, std::function<int()> run) {
    CLI::App* verb = ltx->add_subcommand(name, help)->fallthrough();
    verb->add_option("PATH", *paths, "LTX files, oldest first")->required();
    verb->callback([&context, run] { context.run = run; });
    return verb;
  };
  add("list", "One line a file", [&context, paths] { return List(context, *paths); });
  add("verify", "Check every byte of every file", [&context, paths] { return Verify(context, *paths); });
  add("dump", "Header, trailer and pages", [&context, paths] { return Dump(context, *paths); });
  add("apply", "Apply files to a database file that nobody has open",
      [output, paths] { return Apply(*output, *paths); })
      ->add_option("--db", *output, "Database file")
      ->required();
  CLI::App* compact = add("compact", "Merge consecutive files into one",
                          [output, keep, paths] { return Compact(*output, *keep, *paths); });
  compact->add_option("-o,--output", *output, "File to write")->required();
  compact->add_flag("--no-checksum", *keep, "Write without rolling checksums, as Litestream does");
}

}  // namespace runnel::tools
