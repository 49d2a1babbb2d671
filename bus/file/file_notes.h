// Notes of nodes beside a file log: <dir>/NAME/notes/<key>, replaced whole. Nothing of the log depends on them.
#pragma once

#include <string>
#include <vector>

#include "bus/bus.h"
#include "ltx/base/result.h"

namespace runnel::bus::file {

Status PutNote(const std::string& log_path, const Note& note);
Result<std::vector<Note>> GetNotes(const std::string& log_path);

}  // namespace runnel::bus::file
