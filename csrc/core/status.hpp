// How the core reports failure: exceptions while loading, never while running, never across the C API.
#pragma once

#include <stdexcept>
#include <string>

namespace edgelane {

enum class StatusCode {
  ok = 0,
  invalid_argument = 1,  // a name, shape, dtype or option of the caller
  invalid_file = 2,      // a .lane file that is damaged, of another version, or not one
  not_found = 3,         // a file that is not there or cannot be read
  unsupported = 4,       // an instruction set or operator that this build or machine lacks
  out_of_memory = 5,
  self_test_failed = 6,  // this machine's answer differs from the golden frame, or the file holds none
};

// The message is one line and holds what was expected and what was found.
class Error : public std::runtime_error {
 public:
  Error(StatusCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  StatusCode code() const noexcept { return code_; }

 private:
  StatusCode code_;
};

}  // namespace edgelane
