#include "ltx/format/header.h"

#include <algorithm>
#include <limits>

namespace runnel::ltx {
namespace {

constexpr std::string_view kMagic = "LTX1";
constexpr uint32_t kFlagNoChecksum = 0x2;
constexpr uint64_t kSignedMax = std::numeric_limits<int64_t>::max();

Error Broken(std::string rule) { return Error(Errc::kCorrupt, "ltx header: " + std::move(rule)); }

Status ValidateWalFields(const Header& header) {
  if (header.wal_offset > kSignedMax) return Broken("wal offset is negative");
  if (header.wal_bytes > kSignedMax) return Broken("wal size is negative");
  if (header.wal_offset == 0 && (header.wal_salt1 != 0 || header.wal_salt2 != 0)) {
    return Broken("wal salt without wal offset");
  }
  if (header.wal_offset == 0 && header.wal_bytes != 0) return Broken("wal size without wal offset");
  return Ok();
}

Status ValidatePreApplyChecksum(const Header& header) {
  const bool present = header.pre_apply_checksum != Checksum();
  if (header.IsSnapshot()) {
    return present ? Status(Broken("pre-apply checksum on a snapshot")) : Ok();
  }
  if (header.no_checksum) {
    return present ? Status(Broken("pre-apply checksum although checksums are not tracked")) : Ok();
  }
  if (!present) return Broken("no pre-apply checksum");
  if (!header.pre_apply_checksum.valid()) {
    return Broken("pre-apply checksum " + ToString(header.pre_apply_checksum) + " lacks its flag bit");
  }
  return Ok();
}

}  // namespace

Status Validate(const Header& header) {
  if (!PageSize::IsValid(header.page_size.raw())) {
    return Broken("page size " + std::to_string(header.page_size.raw()));
  }
  if (header.commit > kPgnoMax) return Broken("commit of " + std::to_string(header.commit) + " pages");
  if (header.min_txid == Txid()) return Broken("min txid is 0");
  if (header.max_txid == Txid()) return Broken("max txid is 0");
  if (header.min_txid > header.max_txid) {
    return Broken("min txid " + ToString(header.min_txid) + " is above max txid " + ToString(header.max_txid));
  }
  TRY(ValidateWalFields(header));
  return ValidatePreApplyChecksum(header);
}

Status Validate(const Header& header, const Trailer& trailer) {
  auto broken = [](std::string rule) { return Error(Errc::kCorrupt, "ltx trailer: " + std::move(rule)); };
  const Checksum post = trailer.post_apply_checksum;
  if (header.no_checksum) {
    if (header.commit == 0) return broken("a database without pages needs its post-apply checksum");
    if (post != Checksum()) return broken("post-apply checksum although checksums are not tracked");
    return Ok();
  }
  if (!post.valid()) return broken("post-apply checksum " + ToString(post) + " lacks its flag bit");
  if (header.commit == 0 && post != Checksum::Empty()) {
    return broken("post-apply checksum " + ToString(post) + " of a database without pages");
  }
  return Ok();
}

void StoreHeader(std::span<std::byte, kHeaderBytes> out, const Header& header) {
  std::byte* p = out.data();
  std::fill(out.begin(), out.end(), std::byte{0});
  std::memcpy(p, kMagic.data(), kMagic.size());
  StoreBe32(p + 4, header.no_checksum ? kFlagNoChecksum : 0);
  StoreBe32(p + 8, header.page_size.raw());
  StoreBe32(p + 12, header.commit);
  StoreBe64(p + 16, header.min_txid.raw());
  StoreBe64(p + 24, header.max_txid.raw());
  StoreBe64(p + 32, static_cast<uint64_t>(header.timestamp_ms));
  StoreBe64(p + 40, header.pre_apply_checksum.raw());
  StoreBe64(p + 48, header.wal_offset);
  StoreBe64(p + 56, header.wal_bytes);
  StoreBe32(p + 64, header.wal_salt1);
  StoreBe32(p + 68, header.wal_salt2);
  StoreBe64(p + 72, header.node_id);
}

std::string EncodeHeader(const Header& header) {
  std::byte out[kHeaderBytes];
  StoreHeader(out, header);
  return std::string(AsText(out));
}

Result<Header> DecodeHeader(Bytes bytes) {
  if (bytes.size() != kHeaderBytes) {
    return Broken(std::to_string(bytes.size()) + " bytes instead of " + std::to_string(kHeaderBytes));
  }
  ByteReader reader(bytes);
  if (AsText(reader.Raw(kMagic.size())) != kMagic) return Broken("magic is not LTX1");
  const uint32_t flags = reader.Be32();
  if ((flags & ~kFlagNoChecksum) != 0) return Broken("unknown flags " + std::to_string(flags));
  Header header;
  header.no_checksum = flags != 0;
  header.page_size = PageSize(reader.Be32());
  header.commit = reader.Be32();
  header.min_txid = Txid(reader.Be64());
  header.max_txid = Txid(reader.Be64());
  header.timestamp_ms = static_cast<int64_t>(reader.Be64());
  header.pre_apply_checksum = Checksum(reader.Be64());
  header.wal_offset = reader.Be64();
  header.wal_bytes = reader.Be64();
  header.wal_salt1 = reader.Be32();
  header.wal_salt2 = reader.Be32();
  header.node_id = reader.Be64();
  TRY(Validate(header));
  return header;
}

std::string FileName(Txid min_txid, Txid max_txid) { return ToString(min_txid) + "-" + ToString(max_txid) + ".ltx"; }

}  // namespace runnel::ltx
