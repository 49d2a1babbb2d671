#include "bus/nats/nkey.h"

#include <openssl/evp.h>

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

namespace runnel::bus::nats {
namespace {

constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
constexpr uint8_t kPrefixSeed = 18 << 3;  // 'S'
constexpr uint8_t kPrefixUser = 20 << 3;  // 'U'
constexpr size_t kKeyBytes = 32;
constexpr size_t kSeedBytes = 2 + kKeyBytes + 2;  // two prefixes packed into two bytes, key, checksum

std::optional<std::vector<uint8_t>> DecodeBase32(std::string_view text) {
  std::vector<uint8_t> bytes;
  uint32_t buffer = 0;
  int bits = 0;
  for (const char c : text) {
    const size_t value = kAlphabet.find(c);
    if (value == std::string_view::npos) return std::nullopt;
    buffer = (buffer << 5 | static_cast<uint32_t>(value)) & 0xffff;
    bits += 5;
    if (bits < 8) continue;
    bits -= 8;
    bytes.push_back(static_cast<uint8_t>(buffer >> bits));
  }
  return bytes;
}

std::string EncodeBase32(const std::vector<uint8_t>& bytes) {
  std::string text;
  uint32_t buffer = 0;
  int bits = 0;
  for (const uint8_t byte : bytes) {
    buffer = (buffer << 8 | byte) & 0xffff;
    bits += 8;
    while (bits >= 5) {
      bits -= 5;
      text += kAlphabet[buffer >> bits & 31];
    }
  }
  if (bits > 0) text += kAlphabet[buffer << (5 - bits) & 31];
  return text;
}

uint16_t Crc16(const uint8_t* bytes, size_t count) {
  uint16_t crc = 0;
  for (size_t i = 0; i < count; ++i) {
    crc = static_cast<uint16_t>(crc ^ bytes[i] << 8);
    for (int bit = 0; bit < 8; ++bit) {
      crc = static_cast<uint16_t>((crc & 0x8000) != 0 ? crc << 1 ^ 0x1021 : crc << 1);
    }
  }
  return crc;
}

struct FreeKey {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};

}  // namespace

Result<std::string> NkeyPublicFromSeed(std::string_view seed) {
  const std::optional<std::vector<uint8_t>> raw = DecodeBase32(seed);
  if (!raw.has_value() || raw->size() != kSeedBytes) return Error(Errc::kInvalid, "not an nkey seed");
  const std::vector<uint8_t>& bytes = *raw;
  const uint16_t crc = static_cast<uint16_t>(bytes[kSeedBytes - 2] | bytes[kSeedBytes - 1] << 8);
  if (crc != Crc16(bytes.data(), kSeedBytes - 2)) return Error(Errc::kInvalid, "nkey seed with a wrong checksum");
  const uint8_t kind = static_cast<uint8_t>((bytes[0] & 7) << 5 | bytes[1] >> 3);
  if ((bytes[0] & 0xf8) != kPrefixSeed || kind != kPrefixUser) {
    return Error(Errc::kInvalid, "nkey seed is not that of a user (it must begin with SU)");
  }
  const std::unique_ptr<EVP_PKEY, FreeKey> key(
      EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nullptr, bytes.data() + 2, kKeyBytes));
  std::array<uint8_t, kKeyBytes> point = {};
  size_t point_bytes = point.size();
  if (key == nullptr || EVP_PKEY_get_raw_public_key(key.get(), point.data(), &point_bytes) != 1) {
    return Error(Errc::kInvalid, "nkey seed is not an Ed25519 key");
  }
  std::vector<uint8_t> encoded = {kPrefixUser};
  encoded.insert(encoded.end(), point.begin(), point.end());
  const uint16_t check = Crc16(encoded.data(), encoded.size());
  encoded.push_back(static_cast<uint8_t>(check & 0xff));
  encoded.push_back(static_cast<uint8_t>(check >> 8));
  return EncodeBase32(encoded);
}

}  // namespace runnel::bus::nats
