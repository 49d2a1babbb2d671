#include "subscriber/restorer.h"

#include <algorithm>
#include <chrono>
#include <utility>
#include <variant>

#include "bus/find.h"
#include "ltx/base/log.h"
#include "subscriber/archive/store/url.h"
#include "subscriber/archive_source.h"
#include "subscriber/reference.h"
#include "subscriber/restore/assembler.h"
#include "subscriber/restore/output_file.h"

namespace runnel::subscriber {
namespace {

// Beyond all that can be: no target was given.
constexpr Txid kAny(UINT64_MAX - 1);

}  // namespace

Result<std::unique_ptr<Restorer>> Restorer::Open(RestoreRequest request, std::stop_token stop) {
  if (!request.archive_url && !request.bus_url) return Error(Errc::kInvalid, "nothing to restore from");
  if (request.txid && request.time) return Error(Errc::kInvalid, "a TXID and a timestamp exclude each other");
  request.store.stop = stop;
  std::unique_ptr<Restorer> restorer(new Restorer(std::move(request), std::move(stop)));  // private constructor
  if (restorer->request_.bus_url) TRY(restorer->OpenLog());
  if (restorer->request_.archive_url) TRY(restorer->OpenArchive(*restorer->request_.archive_url));
  TRY(restorer->Resolve());
  return restorer;
}

Status Restorer::OpenArchive(const std::string& url) {
  TRY_ASSIGN(const archive::Layout layout, archive::Layout::ForUrl(url));
  TRY_ASSIGN(store_, store::OpenStore(url, request_.store));
  Result<restore::Catalog> catalog = restore::Catalog::Load(*store_, layout);
  if (!catalog.ok()) {
    // An archive that has not begun yet, beside a log that may still hold everything.
    if (catalog.code() == Errc::kNotFound && log_ != nullptr) return Ok();
    return catalog.error();
  }
  catalog_ = std::move(*catalog);
  return Ok();
}

Status Restorer::OpenLog() {
  TRY_ASSIGN(log_, bus::OpenLog(*request_.bus_url, request_.bus));
  Result<bus::LogInfo> info = log_->Info();
  if (info.ok()) return Ok();
  if (info.code() != Errc::kNotFound || !request_.archive_url) return info.error();
  // The log is lost: the archive is there for that.
  Log(Level::kWarn, "restore_without_log", {{"err", info.error().message()}});
  log_.reset();
  return Ok();
}

Status Restorer::Resolve() {
  if (catalog_) TRY(ResolveInArchive());
  const bool reached = plan_ && request_.txid && plan_->target == *request_.txid;
  if (log_ != nullptr && !reached) TRY(ResolveInLog());
  if (plan_) {
    for (const restore::PlanStep& step : plan_->steps) {
      const restore::CatalogObject& object = catalog_->objects()[step.object];
      steps_.push_back({object.key, step.after, step.upto, object.bytes});
    }
  }
  if (replay_from_) steps_.push_back({"", plan_ ? plan_->target : Txid(), request_.txid.value_or(Txid()), 0});
  return Ok();
}

Status Restorer::PlanArchive(Txid target) {
  TRY_ASSIGN(plan_, catalog_->Plan(target, AssembleOptionsFor(*request_.archive_url).fetch.block_bytes));
  return Ok();
}

Status Restorer::ResolveInArchive() {
  if (log_ == nullptr) {
    Result<Txid> target = request_.time ? catalog_->NewestAt(*request_.time) : catalog_->Newest();
    if (request_.txid) target = *request_.txid;
    if (!target.ok()) return target.error();
    return PlanArchive(*target);
  }
  // As far as the archive leads; the log goes on from there.
  if (request_.time) {
    Result<Txid> target = catalog_->NewestAt(*request_.time);
    if (!target.ok() && target.code() == Errc::kNotFound) return Ok();
    if (!target.ok()) return target.error();
    return PlanArchive(*target);
  }
  const restore::Reachable around = restore::ReachableAround(catalog_->plan_objects(), request_.txid.value_or(kAny));
  return around.at_or_before ? PlanArchive(*around.at_or_before) : Ok();
}

Status Restorer::CheckSameHistory() {
  if (!catalog_ || !catalog_->origin()) return Ok();
  TRY_ASSIGN(const std::optional<bus::Message> tail, log_->Tail());
  if (!tail) return Ok();
  Result<bus::Header> header = bus::DecodeHeader(tail->payload);
  if (!header.ok() || header->lineage == catalog_->origin()->lineage) return Ok();
  return Error(Errc::kRefused, "the archive holds lineage " + bus::ToString(catalog_->origin()->lineage) +
                                   ", the log lineage " + bus::ToString(header->lineage) +
                                   ": they are histories of different databases; restore from one of them alone");
}

Status Restorer::ResolveInLog() {
  TRY(CheckSameHistory());
  if (plan_) {
    TRY_ASSIGN(const bool continues, FindContinuation());
    if (continues || !request_.txid) return Ok();
    if (!replay_from_) {
      return Error(Errc::kNotFound, "TXID " + ToString(*request_.txid) +
                                        " cannot be reached exactly: archive and log end at " +
                                        ToString(plan_->target));
    }
    return Ok();
  }
  TRY_ASSIGN(bool found, FindSnapshotInLog());
  if (!found) {
    TRY_ASSIGN(found, FollowReference());
  }
  if (found) return Ok();
  return Error(Errc::kNotFound, "the log holds no snapshot to begin with" +
                                    std::string(request_.txid || request_.time ? " at or before that" : "") +
                                    "; give the archive too");
}

// The log behind the archive's part; false when it holds nothing of use.
Result<bool> Restorer::FindContinuation() {
  Result<std::optional<bus::StreamSeq>> start = bus::FindTxid(*log_, plan_->target.Next(), stop_);
  if (start.ok()) {
    replay_from_ = *start;
    return start->has_value();
  }
  if (start.code() != Errc::kGap) return start.error();
  // Trimmed beyond the archive's end: perhaps the log has a snapshot of its own.
  TRY_ASSIGN(const bool alone, FindSnapshotInLog());
  if (alone) {
    plan_.reset();
    return true;
  }
  if (request_.time) return false;
  return start.error().With("the archive ends at " + ToString(plan_->target) + ", and the log does not go on there");
}

Result<bool> Restorer::FindSnapshotInLog() {
  Txid at_most = request_.txid.value_or(kAny);
  while (true) {
    TRY_ASSIGN(const std::optional<bus::SnapshotPlace> place, bus::FindLastSnapshot(*log_, stop_, at_most));
    if (!place) return false;
    replay_from_ = place->seq;
    if (!request_.time) return true;
    TRY_ASSIGN(const std::optional<bus::Message> message, log_->Get(place->seq));
    if (!message) return false;
    TRY_ASSIGN(const bus::Envelope envelope, bus::Decode(message->payload));
    const auto* chunk = std::get_if<bus::Chunk>(&envelope.body);
    const auto* commits = std::get_if<bus::Commits>(&envelope.body);
    const bus::CaptureTime captured_at = chunk != nullptr     ? chunk->entry.captured_at
                                         : commits != nullptr ? commits->entries.front().captured_at
                                                              : envelope.header.captured_at;
    if (captured_at <= *request_.time) return true;
    replay_from_.reset();
    if (place->txid == Txid(1)) return false;
    at_most = place->txid.Previous();
  }
}

// The archive that the log refers to: what it holds decides whether that helps.
Result<bool> Restorer::FollowReference() {
  TRY_ASSIGN(const std::optional<bus::ReferencePlace> place, bus::FindLastReference(*log_, stop_));
  if (!place) return false;
  const std::string& url = place->ref.url;
  Log(Level::kInfo, "restore_follows_reference", {{"url", store::RedactUrl(url)}});
  request_.archive_url = url;
  request_.store = OptionsForReference(url, *request_.bus_url, request_.bus, request_.store);
  TRY(OpenArchive(url));
  if (!catalog_)
    return Error(Errc::kNotFound, "the log refers to an archive that is not there: " + store::RedactUrl(url));
  TRY(ResolveInArchive());
  if (!plan_) return false;
  if (request_.txid && plan_->target == *request_.txid) return true;
  TRY(CheckSameHistory());
  TRY_ASSIGN([[maybe_unused]] const bool continues, FindContinuation());
  return true;
}

Status Restorer::RunArchive(restore::OutputFile& output, RestoreReport& report, ReplayedImage& image) {
  restore::AssembleOptions options = AssembleOptionsFor(*request_.archive_url);
  options.keep_checksums = replay_from_.has_value();
  if (request_.progress) {
    options.progress = [this](uint64_t done) { request_.progress(done, plan_->bytes); };
  }
  TRY_ASSIGN(restore::AssembledImage assembled, restore::Assemble(*store_, plan_->pieces, output, options, stop_));
  report.objects = plan_->steps.size();
  report.archive_bytes = plan_->bytes;
  report.checksum_known = assembled.proven;
  report.commit_time = WallTime(std::chrono::milliseconds(assembled.timestamp_ms));
  image.position = assembled.position;
  image.page_size = assembled.page_size;
  image.page_count = assembled.page_count;
  image.checksums = std::move(assembled.checksums);
  if (catalog_->origin()) image.lineage = catalog_->origin()->lineage;
  return Ok();
}

Status Restorer::RunLog(restore::OutputFile& output, RestoreReport& report, ReplayedImage image) {
  const std::string scratch = output.temporary() + ".scratch";
  LogReplay replay(*log_, output, std::move(image), scratch);
  const uint64_t before = report.archive_bytes;
  TRY(replay.Run(
      *replay_from_, {request_.txid, request_.time},
      [this, before](uint64_t done) {
        if (request_.progress) request_.progress(before + done, 0);
      },
      stop_));
  const ReplayedImage& replayed = replay.image();
  TRY(output.SetPageCount(replayed.page_count));
  report.log_files = replayed.files;
  report.position = replayed.position;
  report.page_count = replayed.page_count;
  report.page_size = replayed.page_size;
  if (replayed.files > 0) {
    report.checksum_known = true;
    report.commit_time = replayed.captured_at;
  }
  return Ok();
}

Result<RestoreReport> Restorer::Run() {
  TRY(restore::CheckOutput(request_.output, request_.replace));
  TRY_ASSIGN(const std::unique_ptr<restore::OutputFile> output, restore::OutputFile::Create(request_.output));
  RestoreReport report;
  ReplayedImage image;
  if (plan_) TRY(RunArchive(*output, report, image));
  report.position = image.position;
  report.page_size = image.page_size;
  report.page_count = image.page_count;
  if (replay_from_) TRY(RunLog(*output, report, std::move(image)));
  TRY(output->Finish(request_.replace));
  return report;
}

}  // namespace runnel::subscriber
