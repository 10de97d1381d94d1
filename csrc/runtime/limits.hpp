// What a file may ask for, besides what its format says, so that a few hundred hostile bytes cannot take the machine's memory or
// hours of its time. export/FORMAT.md, "Limits of the reader", is the list for users.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

namespace edgelane {

struct Model;
struct Step;

constexpr size_t kMaxTensors = 65536;
constexpr size_t kMaxNameBytes = 1024;
constexpr int kMaxImageSide = 1 << 20;  // height and width of rank-4 float32 and int8 activations
constexpr int64_t kMaxWindow = 65535;   // windows, strides, dilations and paddings
constexpr size_t kMaxMemoryBytes = size_t{4} << 30;
constexpr uint64_t kMaxOperations = uint64_t{1} << 44;

// kMaxMemoryBytes, or half of the machine's memory where that is less.
size_t default_memory_limit() noexcept;

// The limits that a caller may move.
struct Limits {
  // Of activations, packed weights and tables together; and of the file, and of all constants with their zero blocks written out.
  size_t memory_bytes = default_memory_limit();
  // Multiply-accumulates, comparisons and copies of elements of one run, as step_operations counts them.
  uint64_t operations = kMaxOperations;

  size_t constant_bytes() const { return memory_bytes / 4; }  // of one constant, its zero blocks written out
};

// The limits that a caller asks for. Memory: the environment variable EDGELANE_MEMORY_LIMIT, a number of bytes or as 512M or 8G,
// where the caller says nothing, else the default. Throws Error(invalid_argument) for 0 and where the variable is no such text.
Limits select_limits(std::optional<uint64_t> memory_bytes, std::optional<uint64_t> operations);

// An upper bound, up to a small factor, of what one run of a step does, from its shapes and windows alone: zeros of weights
// count.
double step_operations(const Model& model, const Step& step);

// Throws Error(invalid_file) where one run of the model takes more operations than its limits allow.
void check_operations(const Model& model);

}  // namespace edgelane
