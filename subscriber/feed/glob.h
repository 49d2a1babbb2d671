// Patterns of table names.
#pragma once

#include <string_view>

namespace runnel::feed {

// `*` any characters, `?` one byte; ASCII letters without case. In time bounded by the product of both lengths.
bool GlobMatches(std::string_view glob, std::string_view name);

}  // namespace runnel::feed
