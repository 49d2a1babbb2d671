#include "ltx/format/checksum.h"

#include <isa-l/crc64.h>

#include <algorithm>
#include <cstring>

namespace runnel::ltx {
namespace {

// Polynomials over GF(2) of degree below 64, reflected: bit 63 is the coefficient of x^0.
constexpr uint64_t kPolynomial = 0xd800000000000000;
constexpr uint64_t kOne = uint64_t{1} << 63;

// A difference is taken up to a multiple of this, so that there are few powers of x to know.
constexpr size_t kStepBytes = 64;
constexpr size_t kPieceBytes = 512;

constexpr uint64_t MultiplyByX(uint64_t a) { return (a >> 1) ^ ((a & 1) != 0 ? kPolynomial : 0); }

// Without branches: they would be mispredicted at every other bit.
constexpr uint64_t Multiply(uint64_t a, uint64_t b) {
  uint64_t product = 0;
  for (int bit = 63; bit >= 0; --bit) {
    product ^= b & (uint64_t{0} - ((a >> bit) & 1));
    b = (b >> 1) ^ (kPolynomial & (uint64_t{0} - (b & 1)));
  }
  return product;
}

constexpr uint64_t PowerOfX(uint64_t exponent) {
  uint64_t power = kOne;
  uint64_t square = MultiplyByX(kOne);
  for (; exponent != 0; exponent >>= 1) {
    if ((exponent & 1) != 0) power = Multiply(power, square);
    square = Multiply(square, square);
  }
  return power;
}

}  // namespace

// Inversion before and after cancels out: the joined sum is the first one, moved up by the second piece, plus the
// second.
Crc64Joiner::Crc64Joiner(uint64_t second_bytes) : shift_(PowerOfX(second_bytes * 8)) {}
uint64_t Crc64Joiner::Join(uint64_t first, uint64_t second) const { return Multiply(shift_, first) ^ second; }

uint64_t JoinCrc64(uint64_t first, uint64_t second, uint64_t second_bytes) {
  return Crc64Joiner(second_bytes).Join(first, second);
}

// ISA-L inverts on entry and on exit itself, so 0 starts a sum and its results can be fed back as they are.
void Crc64::Update(Bytes bytes) {
  if (bytes.empty()) return;
  value_ = crc64_iso_refl(value_, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
}

Checksum PageChecksum(Pgno pgno, Bytes page) {
  std::byte number[4];
  StoreBe32(number, pgno.raw());
  Crc64 crc;
  crc.Update(number);
  crc.Update(page);
  return Checksum(Checksum::kFlag | crc.value());
}

PageChange::PageChange(PageSize page_size) {
  behind_.reserve(page_size.raw() / kStepBytes);
  for (size_t bytes = 0; bytes < page_size.raw(); bytes += kStepBytes) behind_.emplace_back(bytes);
}

Checksum PageChange::Of(Bytes before, Bytes after, size_t begin, size_t end) const {
  if (begin == end) return Checksum(Checksum::kFlag);
  begin = begin / kStepBytes * kStepBytes;  // where nothing differs the register stays 0
  end = (end + kStepBytes - 1) / kStepBytes * kStepBytes;
  uint64_t crc = ~uint64_t{0};  // ISA-L inverts it on entry: the register starts at 0
  unsigned char piece[kPieceBytes];
  for (size_t at = begin; at < end; at += kPieceBytes) {
    const size_t size = std::min(kPieceBytes, end - at);
    for (size_t i = 0; i < size; i += sizeof(uint64_t)) {
      uint64_t word;
      uint64_t other;
      std::memcpy(&word, before.data() + at + i, sizeof word);
      std::memcpy(&other, after.data() + at + i, sizeof other);
      word ^= other;
      std::memcpy(piece + i, &word, sizeof word);
    }
    crc = crc64_iso_refl(crc, piece, size);
  }
  const Crc64Joiner& behind = behind_[(before.size() - end) / kStepBytes];
  return Checksum(Checksum::kFlag | behind.Join(~crc, 0));  // all that is behind it is equal, and its sum 0
}

}  // namespace runnel::ltx
