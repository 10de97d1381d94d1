// edgelane for C++: the C interface with owners, vectors and exceptions. Header only; C++17.
#ifndef EDGELANE_HPP_
#define EDGELANE_HPP_

#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "edgelane/edgelane.h"

namespace edgelane::api {

class Error : public std::runtime_error {
 public:
  Error(edgelane_status status, const char* message) : std::runtime_error(message), status_(status) {}
  edgelane_status status() const noexcept { return status_; }

 private:
  edgelane_status status_;
};

inline void check(edgelane_status status) {
  if (status != EDGELANE_OK) throw Error(status, edgelane_last_error());
}

struct Options {
  int threads = 0;         // 0: one for each of `cores`, or one
  std::string isa;         // empty: EDGELANE_ISA, else the best one
  std::string cores;       // "2,3" or "0-3", see edgelane_options; empty: EDGELANE_CORES, else any
  bool self_test = false;  // refuse a file whose golden frame this machine does not compute, see edgelane_options
  uint64_t memory_limit_bytes = 0, operation_limit = 0;  // see edgelane_options; 0: the default
};

// A loaded network. It moves and does not copy; one thread at a time may use it.
class Session {
 public:
  explicit Session(const std::string& path, const Options& options = {}) {
    const edgelane_options o = c_options(options);
    edgelane_session* session = nullptr;
    check(edgelane_load(path.c_str(), &o, &session));
    own(session);
  }

  Session(const void* data, size_t bytes, const Options& options = {}) {
    const edgelane_options o = c_options(options);
    edgelane_session* session = nullptr;
    check(edgelane_load_memory(data, bytes, &o, &session));
    own(session);
  }

  const std::vector<edgelane_tensor_info>& inputs() const { return inputs_; }
  const std::vector<edgelane_tensor_info>& outputs() const { return outputs_; }

  // Arrays of edgelane_tensor_info::bytes bytes each, in the order of inputs() and outputs(). Allocates nothing.
  void run(const std::vector<const void*>& inputs, const std::vector<void*>& outputs) {
    check(edgelane_run(session_.get(), inputs.data(), inputs.size(), outputs.data(), outputs.size()));
  }

  // The strings of the rows are valid until the next profile().
  std::vector<edgelane_profile_row> profile(const std::vector<const void*>& inputs, int repeats = 10) {
    const edgelane_profile_row* rows = nullptr;
    size_t count = 0;
    check(edgelane_profile(session_.get(), inputs.data(), inputs.size(), repeats, &rows, &count));
    return {rows, rows + count};
  }

  // Nothing where the file holds no golden frame.
  std::optional<double> check_golden() {
    double error = 0.0;
    int present = 0;
    check(edgelane_check_golden(session_.get(), &error, &present));
    return present != 0 ? std::optional<double>(error) : std::nullopt;
  }

  std::string metadata() const { return edgelane_metadata(session_.get()); }
  std::string plan() const { return edgelane_plan(session_.get()); }
  std::string isa() const { return edgelane_isa(session_.get()); }
  int threads() const { return edgelane_threads(session_.get()); }

 private:
  struct Free {
    void operator()(edgelane_session* session) const { edgelane_free(session); }
  };

  static edgelane_options c_options(const Options& options) {
    return {options.threads,
            options.isa.empty() ? nullptr : options.isa.c_str(),
            options.cores.empty() ? nullptr : options.cores.c_str(),
            options.self_test ? 1 : 0,
            options.memory_limit_bytes,
            options.operation_limit};
  }

  void own(edgelane_session* session) {
    session_.reset(session);
    for (size_t i = 0; i < edgelane_input_count(session); ++i) check(edgelane_input_info(session, i, &inputs_.emplace_back()));
    for (size_t i = 0; i < edgelane_output_count(session); ++i) check(edgelane_output_info(session, i, &outputs_.emplace_back()));
  }

  std::unique_ptr<edgelane_session, Free> session_;
  std::vector<edgelane_tensor_info> inputs_, outputs_;
};

}  // namespace edgelane::api

#endif  // EDGELANE_HPP_
