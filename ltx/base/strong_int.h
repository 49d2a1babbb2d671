// An integer that cannot be mistaken for another one: explicit in, .raw() out, comparable and hashable, nothing more.
// A type that means "the one after" adds its own named function (Txid::Next).
#pragma once

#include <compare>
#include <cstddef>
#include <functional>

namespace runnel {

template <typename Tag, typename T>
class StrongInt {
 public:
  using Raw = T;
  constexpr StrongInt() = default;
  constexpr explicit StrongInt(T raw) : raw_(raw) {}
  constexpr T raw() const { return raw_; }
  constexpr auto operator<=>(const StrongInt&) const = default;

 private:
  T raw_ = 0;
};

}  // namespace runnel

template <typename Tag, typename T>
struct std::hash<runnel::StrongInt<Tag, T>> {
  std::size_t operator()(runnel::StrongInt<Tag, T> v) const noexcept { return std::hash<T>()(v.raw()); }
};
