// Errors from the world are values. A function that can fail for a reason outside this program returns Result<T> (or
// Status, which is Result<void>), and the code in the Error says what the caller has to do next, never where it came
// from.
//
// A Result must be looked at: the type is [[nodiscard]]. CHECK (ltx/base/check.h) is for bugs of ours and ends the
// process.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include <tl/expected.hpp>

namespace runnel {

// Named by what the caller does next. The values are not stored anywhere; exit codes are mapped in tools/.
enum class Errc {
  kUnavailable,  // the other side is away: retry with backoff
  kTimeout,      // the deadline passed, the state is unchanged: retry or give up
  kGap,          // something between our position and this one is missing: resync
  kCorrupt,      // bytes are not what they claim to be: never use them, fetch again
  kConflict,     // another publisher has taken over, or the compared state has moved: stop (fenced)
  kRefused,      // going on would endanger data (another database, a fork): stop, a human must decide
  kNotFound,     // asked-for thing does not exist: the caller knows whether that is bad
  kExhausted,    // disk full, limit reached: stop this database, retry later with backoff
  kIo,           // the operating system said no: stop this database, retry later with backoff
  kInvalid,      // wrong usage or configuration: say so and exit
  kUnsupported,  // well-formed but not for us (version, feature): say so
  kCancelled,    // a stop was asked for: leave quietly
};

// "unavailable", "timeout", ...; for logs and JSON.
std::string_view ToString(Errc code);

// What went wrong. The message is one clause with its values, lower case, no full stop, fit to be shown to a person.
class [[nodiscard]] Error {
 public:
  Error(Errc code, std::string message) : code_(code), message_(std::move(message)) {}

  Errc code() const { return code_; }
  const std::string& message() const { return message_; }

  // Adds a clause of context in front: Error(kIo, "no space left").With("write backlog") reads "write backlog: no space
  // left".
  Error With(std::string_view context) const& { return Error(code_, std::string(context) + ": " + message_); }

  // The same error under another code, where a layer knows better what its caller must do.
  Error As(Errc code) const& { return Error(code, message_); }

 private:
  Errc code_;
  std::string message_;
};

// The value of an operation or the reason why there is none. A thin [[nodiscard]] layer over tl::expected.
template <typename T>
class [[nodiscard]] Result : public tl::expected<T, Error> {
 public:
  using tl::expected<T, Error>::expected;
  Result(Error error)
      : tl::expected<T, Error>(tl::unexpect, std::move(error)) {}  // NOLINT: implicit, for `return Error(...)`

  bool ok() const { return this->has_value(); }
  // The error's code; REQUIRES: !ok().
  Errc code() const { return this->error().code(); }
};

using Status = Result<void>;

// Success as a Status.
inline Status Ok() { return Status(); }

// "io error" text of an errno, with the code a caller must act on: ENOSPC and EDQUOT are kExhausted, ENOENT is
// kNotFound, else kIo.
Error ErrnoError(int err, std::string_view what);

}  // namespace runnel

// TRY(expr): evaluate a Result/Status and return its error from the enclosing function.
#define TRY(expr)                                            \
  do {                                                       \
    if (auto try_status = (expr); !try_status.has_value()) { \
      return try_status.error();                             \
    }                                                        \
  } while (false)

#define RUNNEL_CONCAT_INNER(a, b) a##b
#define RUNNEL_CONCAT(a, b) RUNNEL_CONCAT_INNER(a, b)

// TRY_ASSIGN(auto x, expr): as TRY, and bind the value.
#define TRY_ASSIGN(lhs, expr) TRY_ASSIGN_IMPL(RUNNEL_CONCAT(try_result_, __LINE__), lhs, expr)
#define TRY_ASSIGN_IMPL(tmp, lhs, expr) \
  auto tmp = (expr);                    \
  if (!tmp.has_value()) {               \
    return tmp.error();                 \
  }                                     \
  lhs = std::move(*tmp)
