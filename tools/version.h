// The version, as CMakeLists.txt states it.
#pragma once

namespace runnel::tools {

inline constexpr char kVersion[] = RUNNEL_VERSION;

}  // namespace runnel::tools
