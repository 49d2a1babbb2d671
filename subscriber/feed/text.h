// SQL names compare without case, in ASCII only.
#pragma once

#include <string>

namespace runnel::feed {

inline std::string Lower(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  }
  return text;
}

}  // namespace runnel::feed
