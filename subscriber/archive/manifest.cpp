#include "subscriber/archive/manifest.h"

#include <algorithm>
#include <chrono>
#include <tuple>

#include "bus/url.h"
#include "ltx/format/checksum.h"

namespace runnel::archive {
namespace {

constexpr std::string_view kMagic = "RNLMANI1";
constexpr uint32_t kVersion = 1;
constexpr size_t kTextBytesMax = 1024;
constexpr size_t kObjectBytes = 72;
constexpr size_t kChecksumBytes = 8;

Error Corrupt(std::string what) { return Error(Errc::kCorrupt, "manifest: " + std::move(what)); }

uint64_t Micros(bus::CaptureTime time) { return static_cast<uint64_t>(time.time_since_epoch().count()); }

bus::CaptureTime FromMicros(uint64_t micros) {
  return bus::CaptureTime(std::chrono::microseconds(static_cast<int64_t>(micros)));
}

auto SortKey(const ObjectName& name) { return std::tuple(name.kind, name.level, name.max_txid, name.min_txid); }

void AppendText(std::string& out, const std::string& text) {
  AppendBe16(out, static_cast<uint16_t>(text.size()));
  out += text;
}

std::string ReadText(ByteReader& reader) { return std::string(AsText(reader.Raw(reader.Be16()))); }

void AppendObject(std::string& out, const ArchivedObject& object) {
  out.push_back(static_cast<char>(object.name.kind));
  out.push_back(static_cast<char>(object.name.level));
  AppendBe16(out, 0);
  AppendBe32(out, object.page_count);
  AppendBe64(out, object.name.min_txid.raw());
  AppendBe64(out, object.name.max_txid.raw());
  AppendBe64(out, object.checksum.raw());
  AppendBe64(out, Micros(object.captured_at));
  AppendBe64(out, object.bytes);
  AppendBe64(out, object.file_checksum);
  AppendBe64(out, object.last_seq.raw());
  AppendBe64(out, Micros(object.condemned_at));
}

Result<ArchivedObject> ReadObject(ByteReader& reader) {
  ArchivedObject object;
  const uint8_t kind = reader.U8();
  object.name.level = reader.U8();
  const uint16_t zero = reader.Be16();
  object.page_count = reader.Be32();
  object.name.min_txid = Txid(reader.Be64());
  object.name.max_txid = Txid(reader.Be64());
  object.checksum = Checksum(reader.Be64());
  object.captured_at = FromMicros(reader.Be64());
  object.bytes = reader.Be64();
  object.file_checksum = reader.Be64();
  object.last_seq = bus::StreamSeq(reader.Be64());
  object.condemned_at = FromMicros(reader.Be64());
  const bool level = kind == static_cast<uint8_t>(ObjectKind::kLevel);
  if (reader.failed() || zero != 0 || (!level && kind != static_cast<uint8_t>(ObjectKind::kSegment))) {
    return Corrupt("an unknown object");
  }
  object.name.kind = static_cast<ObjectKind>(kind);
  const uint8_t number = object.name.level;
  if (level ? number > kLevelMax && number != kSnapshotLevel : number != 0) return Corrupt("an unknown level");
  if (object.name.min_txid == Txid() || object.name.min_txid > object.name.max_txid)
    return Corrupt("no range of TXIDs");
  if (number == kSnapshotLevel && object.name.min_txid != Txid(1)) return Corrupt("a snapshot that is none");
  if (!object.checksum.valid()) return Corrupt("an object without a checksum");
  return object;
}

Status ReadObjects(ByteReader& reader, Manifest& manifest) {
  const uint32_t count = reader.Be32();
  if (reader.failed() || reader.remaining() != uint64_t{count} * kObjectBytes) return Corrupt("another size");
  if (count > kManifestObjectsMax) return Corrupt("too many objects");
  manifest.objects.reserve(count);
  for (uint32_t i = 0; i < count; ++i) {
    TRY_ASSIGN(ArchivedObject object, ReadObject(reader));
    if (i > 0 && SortKey(manifest.objects.back().name) >= SortKey(object.name)) return Corrupt("objects out of order");
    manifest.objects.push_back(object);
  }
  return Ok();
}

}  // namespace

std::vector<ArchivedObject> Manifest::Live(ObjectKind kind, uint8_t level) const {
  std::vector<ArchivedObject> live;
  for (const ArchivedObject& object : objects) {
    if (object.name.kind == kind && object.name.level == level && !object.condemned()) live.push_back(object);
  }
  return live;
}

const ArchivedObject* Manifest::Find(const ObjectName& name) const {
  auto at =
      std::ranges::lower_bound(objects, SortKey(name), {}, [](const ArchivedObject& o) { return SortKey(o.name); });
  return at != objects.end() && at->name == name ? &*at : nullptr;
}

void Manifest::Insert(ArchivedObject object) {
  auto at = std::ranges::lower_bound(objects, SortKey(object.name), {},
                                     [](const ArchivedObject& o) { return SortKey(o.name); });
  if (at != objects.end() && at->name == object.name) {
    *at = object;
  } else {
    objects.insert(at, object);
  }
}

std::string EncodeManifest(const Manifest& manifest) {
  std::string out(kMagic);
  AppendBe32(out, kVersion);
  AppendBe32(out, manifest.page_size.raw());
  AppendBe64(out, manifest.revision);
  out.append(reinterpret_cast<const char*>(manifest.lineage.bytes.data()), manifest.lineage.bytes.size());
  AppendBe64(out, manifest.epoch.raw());
  AppendBe64(out, manifest.position.txid.raw());
  AppendBe64(out, manifest.position.checksum.raw());
  AppendBe64(out, manifest.unproven_txid.raw());
  AppendBe64(out, Micros(manifest.captured_at));
  AppendBe64(out, Micros(manifest.written_at));
  AppendBe64(out, manifest.log_seq.raw());
  AppendText(out, manifest.database);
  AppendText(out, manifest.writer.substr(0, kTextBytesMax));
  AppendText(out, manifest.incarnation.substr(0, kTextBytesMax));
  AppendBe32(out, static_cast<uint32_t>(manifest.objects.size()));
  for (const ArchivedObject& object : manifest.objects) AppendObject(out, object);
  ltx::Crc64 crc;
  crc.Update(AsBytes(out));
  AppendBe64(out, crc.value());
  return out;
}

Result<Manifest> DecodeManifest(Bytes bytes) {
  if (bytes.size() > kManifestBytesMax || bytes.size() < kMagic.size() + 8 + kChecksumBytes) {
    return Corrupt(std::to_string(bytes.size()) + " bytes");
  }
  if (AsText(bytes.first(kMagic.size())) != kMagic) return Corrupt("it does not begin as one");
  ltx::Crc64 crc;
  crc.Update(bytes.first(bytes.size() - kChecksumBytes));
  if (crc.value() != LoadBe64(bytes.last(kChecksumBytes).data())) return Corrupt("checksum mismatch");
  ByteReader reader(bytes.first(bytes.size() - kChecksumBytes).subspan(kMagic.size()));
  Manifest manifest;
  const uint32_t version = reader.Be32();
  if (version != kVersion) {
    return Error(Errc::kUnsupported, "manifest: version " + std::to_string(version) + " is newer than this program");
  }
  const uint32_t page_size = reader.Be32();
  if (!PageSize::IsValid(page_size)) return Corrupt("page size " + std::to_string(page_size));
  manifest.page_size = PageSize(page_size);
  manifest.revision = reader.Be64();
  const Bytes lineage = reader.Raw(manifest.lineage.bytes.size());
  std::ranges::transform(lineage, manifest.lineage.bytes.begin(),
                         [](std::byte b) { return std::to_integer<uint8_t>(b); });
  manifest.epoch = bus::Epoch(reader.Be64());
  manifest.position.txid = Txid(reader.Be64());
  manifest.position.checksum = Checksum(reader.Be64());
  manifest.unproven_txid = Txid(reader.Be64());
  manifest.captured_at = FromMicros(reader.Be64());
  manifest.written_at = FromMicros(reader.Be64());
  manifest.log_seq = bus::StreamSeq(reader.Be64());
  manifest.database = ReadText(reader);
  manifest.writer = ReadText(reader);
  manifest.incarnation = ReadText(reader);
  if (reader.failed() || !bus::IsDatabaseName(manifest.database)) return Corrupt("no database name");
  if (manifest.writer.size() > kTextBytesMax || manifest.incarnation.size() > kTextBytesMax)
    return Corrupt("long texts");
  TRY(ReadObjects(reader, manifest));
  return manifest;
}

}  // namespace runnel::archive
