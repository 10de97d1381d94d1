#include "runtime/limits.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string>

#include "runtime/message.hpp"
#include "runtime/model.hpp"

namespace edgelane {

size_t default_memory_limit() noexcept {
  const long pages = ::sysconf(_SC_PHYS_PAGES), page_bytes = ::sysconf(_SC_PAGE_SIZE);
  if (pages <= 0 || page_bytes <= 0) return kMaxMemoryBytes;
  return std::min(kMaxMemoryBytes, static_cast<size_t>(pages) / 2 * static_cast<size_t>(page_bytes));
}

namespace {

// "8589934592", "8388608K", "8192M", "8G".
std::optional<uint64_t> parse_bytes(const std::string& text) {
  const size_t digits = text.find_first_not_of("0123456789");
  const std::string number = text.substr(0, digits), suffix = digits == std::string::npos ? "" : text.substr(digits);
  int shift = 0;
  if (suffix == "K") shift = 10;
  if (suffix == "M") shift = 20;
  if (suffix == "G") shift = 30;
  if (number.empty() || number.size() > 18 || (shift == 0 && !suffix.empty())) return std::nullopt;
  const uint64_t value = std::stoull(number);
  return value > (uint64_t{1} << 62) >> shift ? std::nullopt : std::optional<uint64_t>(value << shift);
}

}  // namespace

Limits select_limits(std::optional<uint64_t> memory_bytes, std::optional<uint64_t> operations) {
  Limits limits;
  const char* environment = std::getenv("EDGELANE_MEMORY_LIMIT");
  if (!memory_bytes && environment != nullptr && *environment != '\0') {
    memory_bytes = parse_bytes(environment);
    if (!memory_bytes) {
      fail(StatusCode::invalid_argument,
           "EDGELANE_MEMORY_LIMIT: expected a number of bytes such as 536870912, 512M or 8G, found ", quoted(environment));
    }
  }
  if (memory_bytes) limits.memory_bytes = *memory_bytes;
  if (operations) limits.operations = *operations;
  if (limits.memory_bytes == 0) fail(StatusCode::invalid_argument, "expected a memory limit of at least 1 byte, found 0");
  if (limits.operations == 0) fail(StatusCode::invalid_argument, "expected an operation limit of at least 1, found 0");
  return limits;
}

double step_operations(const Model& model, const Step& step) {
  const auto tensor = [&](size_t i) -> const Tensor& { return model.tensors[static_cast<size_t>(step.inputs[i])]; };
  const Tensor& y = model.tensors[static_cast<size_t>(step.output)];
  const auto outputs = static_cast<double>(y.elements());
  double moved = outputs;
  for (size_t i = 0; i < step.inputs.size(); ++i) {
    if (step.inputs[i] != kAbsent) moved += static_cast<double>(tensor(i).elements());
  }
  switch (step.op) {
    case Op::conv2d:  // each output is a sum over the weights of its channel
      return moved + outputs * static_cast<double>(tensor(1).elements()) / tensor(1).dims[0];
    case Op::conv_transpose2d:  // each input is spread over the weights of its channel
      return moved + static_cast<double>(tensor(0).elements()) * static_cast<double>(tensor(1).elements()) / tensor(1).dims[0];
    case Op::linear:
      return moved + outputs * tensor(1).dims[1];
    case Op::max_pool2d:
    case Op::average_pool2d: {
      const StepAttributes& a = step.attributes;
      const int rows = std::min(a.kernel_shape[0], tensor(0).dims[2]), columns = std::min(a.kernel_shape[1], tensor(0).dims[3]);
      return moved + outputs * rows * columns;
    }
    case Op::resize:
      return moved + 16.0 * outputs;
    case Op::matmul:
      return moved + outputs * tensor(0).dims[tensor(0).rank - 1];
    case Op::top_k:  // as many comparisons as sorting takes
      return 32.0 * moved;
    case Op::non_max_suppression:  // every box with all that were kept before it
      return 32.0 * moved + static_cast<double>(y.dims[0]) * tensor(0).dims[1];
    case Op::roi_align: {
      const double samples = std::max(1, step.attributes.sampling_ratio);
      return moved + 4.0 * samples * samples * outputs;
    }
    default:
      return moved;
  }
}

void check_operations(const Model& model) {
  double total = 0.0;
  for (const Step& step : model.steps) {
    total += step_operations(model, step);
    if (total > static_cast<double>(model.limits.operations)) {
      fail(StatusCode::invalid_file, "step ", quoted(step.name), ": expected a run of at most ", model.limits.operations,
           " operations, found ", total);
    }
  }
}

}  // namespace edgelane
