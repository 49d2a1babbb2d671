// The LTX files of a message where they lie, uncopied: for a reader that is done with them before the message goes.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bus/envelope.h"
#include "ltx/base/bytes.h"
#include "ltx/base/result.h"

namespace runnel::bus {

struct EntryView : EntryInfo {
  Bytes ltx;
};

// LIFETIME: the payload.
struct CommitsView {
  Header header;
  std::vector<EntryView> entries;         // at least one; TXIDs without gaps
  std::unique_ptr<std::string> unpacked;  // the files, if the message has them packed
};

// nullopt: a message of another kind. Errors: as Decode, whose rules for such messages are these.
Result<std::optional<CommitsView>> ViewCommits(std::string_view payload);

}  // namespace runnel::bus
