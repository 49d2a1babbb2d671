#include "ltx/format/checksum.h"

#include <isa-l/crc64.h>

namespace runnel::ltx {
namespace {

// Polynomials over GF(2) of degree below 64, reflected: bit 63 is the coefficient of x^0.
constexpr uint64_t kPolynomial = 0xd800000000000000;
constexpr uint64_t kOne = uint64_t{1} << 63;

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

}  // namespace runnel::ltx
