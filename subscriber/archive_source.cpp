#include "subscriber/archive_source.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "subscriber/archive/store/url.h"
#include "subscriber/part_source.h"

namespace runnel::subscriber {
namespace {

// What is fetched at once, and how much of it may wait for decoding: with the threads' own buffers about 64 MiB.
constexpr uint64_t kBlockBytes = uint64_t{4} << 20;
constexpr uint32_t kBlocksMax = 12;
// A directory answers at once; a service over a network wants several requests on their way.
constexpr uint32_t kFetchThreadsDirectory = 2;
constexpr uint32_t kFetchThreadsNetwork = 8;
constexpr uint32_t kDecodeThreadsMax = 16;

}  // namespace

restore::AssembleOptions AssembleOptionsFor(const std::string& url) {
  restore::AssembleOptions options;
  options.fetch.block_bytes = kBlockBytes;
  options.fetch.blocks_max = kBlocksMax;
  options.fetch.threads = url.starts_with("file://") ? kFetchThreadsDirectory : kFetchThreadsNetwork;
  options.fetch.one_request_a_piece = url.starts_with("nats://") || url.starts_with("tls://");
  options.decode_threads = std::clamp(std::thread::hardware_concurrency(), 2u, kDecodeThreadsMax);
  return options;
}

Result<ArchiveSource> ArchiveSource::Open(const std::string& url, store::StoreOptions options, std::stop_token stop) {
  ArchiveSource source;
  source.url_ = url;
  options.stop = std::move(stop);
  TRY_ASSIGN(const archive::Layout layout, archive::Layout::ForUrl(url));
  TRY_ASSIGN(source.store_, store::OpenStore(url, options));
  TRY_ASSIGN(source.catalog_, restore::Catalog::Load(*source.store_, layout));
  if (source.catalog_->origin()) return source;
  return Error(Errc::kUnsupported, store::RedactUrl(url) +
                                       " has no readable manifest, so nothing says of which log it "
                                       "is; a replica can only begin with an archive made by runnel");
}

std::optional<Txid> ArchiveSource::Newest(Txid at_most) const {
  return restore::ReachableAround(catalog_->plan_objects(), at_most).at_or_before;
}

Result<restore::AssembledImage> ArchiveSource::WriteImage(Txid txid, restore::ImageSink& sink,
                                                          const std::function<void(uint64_t, uint64_t)>& progress,
                                                          std::stop_token stop) {
  TRY_ASSIGN(const restore::ArchivePlan plan, catalog_->Plan(txid, kBlockBytes));
  restore::AssembleOptions options = AssembleOptionsFor(url_);
  options.keep_checksums = true;
  if (progress) options.progress = [&](uint64_t done) { progress(done, plan.bytes); };
  TRY_ASSIGN(restore::AssembledImage image, restore::Assemble(*store_, plan.pieces, sink, options, std::move(stop)));
  if (image.proven) return image;
  return Error(Errc::kCorrupt,
               store_->location() + ": nothing says which checksum the image at " + ToString(txid) + " should have");
}

Result<uint64_t> ArchiveSource::BytesOfWalk(Txid from, Txid upto) const {
  TRY_ASSIGN(const restore::ArchivePlan plan, catalog_->Plan(upto, kBlockBytes, from));
  return plan.bytes;
}

Status ArchiveSource::Walk(Txid from, Txid upto, const std::function<Result<bool>(const File&)>& visit) {
  TRY_ASSIGN(const restore::ArchivePlan plan, catalog_->Plan(upto, kBlockBytes, from));
  for (auto piece = plan.pieces.rbegin(); piece != plan.pieces.rend(); ++piece) {
    for (auto part = piece->parts.rbegin(); part != piece->parts.rend(); ++part) {
      if (!part->checksum) return Error(Errc::kUnsupported, piece->key + ": no checksum is noted for it");
      PartSource source(*store_, piece->key, part->offset, part->bytes);
      Result<bool> more = visit({*part, *part->checksum, source});
      if (!more.ok()) return more.error().With(piece->key);
      if (!*more) return Ok();
    }
  }
  return Ok();
}

}  // namespace runnel::subscriber
