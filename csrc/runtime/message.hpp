// Building the one-line messages of errors.
#pragma once

#include <sstream>
#include <string>

#include "core/span.hpp"
#include "core/status.hpp"

namespace edgelane {

// The parts, one after the other.
template <class... Parts>
std::string message(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

template <class... Parts>
[[noreturn]] void fail(StatusCode code, const Parts&... parts) {
  throw Error(code, message(parts...));
}

// "[1, 3, 224, 224]"
template <class T>
std::string list(Span<const T> values) {
  std::ostringstream out;
  out << '[';
  for (size_t i = 0; i < values.size(); ++i) out << (i == 0 ? "" : ", ") << values[i];
  out << ']';
  return out.str();
}

// A name from a file, in quotes; control characters become '?' so that a message stays one line.
inline std::string quoted(const std::string& name) {
  std::string out = "\"";
  for (const char c : name) out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  return out + '"';
}

}  // namespace edgelane
