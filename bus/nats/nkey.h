// The public key of an NKey seed. nats.c signs with a seed file but wants to be told the public key beside it; users
// have only the seed. Format (github.com/nats-io/nkeys): base32 without padding of prefix bytes, 32 bytes,
// CRC-16/XMODEM.
#pragma once

#include <string>
#include <string_view>

#include "ltx/base/result.h"

namespace runnel::bus::nats {

// "SU..." (user seed) -> "U...". Errors: kInvalid; the message never repeats the seed.
Result<std::string> NkeyPublicFromSeed(std::string_view seed);

}  // namespace runnel::bus::nats
