// What prepare functions refuse, in one wording. Not for files with instruction-set flags.
#pragma once

#include <string>

#include "core/status.hpp"
#include "formats/activation.hpp"
#include "formats/tensor.hpp"

namespace edgelane {

inline std::string shape_text(const TensorDesc& t) {
  std::string s = std::string(dtype_name(t.dtype)) + "[";
  for (int a = 0; a < t.rank; ++a) s += (a > 0 ? "," : "") + std::to_string(t.dims[a]);
  return s + "]";
}

inline void check(bool ok, const char* step, const std::string& message) {
  if (!ok) throw Error(StatusCode::invalid_argument, std::string(step) + ": " + message);
}

// The most memory that what is prepared on this thread may take, as long as one of these lives; 4 GiB without one.
class MemoryLimit {
 public:
  explicit MemoryLimit(size_t bytes) noexcept : before_(current) { current = bytes; }
  ~MemoryLimit() { current = before_; }
  MemoryLimit(const MemoryLimit&) = delete;
  MemoryLimit& operator=(const MemoryLimit&) = delete;

  static size_t packed_bytes() noexcept { return current; }
  // Tables of offsets, taps or counts grow with single dimensions or with windows and not with the data, so that without a limit
  // a file of a few hundred bytes could fill the memory.
  static int64_t table_bytes() noexcept { return static_cast<int64_t>(current / 16); }

 private:
  static inline thread_local size_t current = size_t{4} << 30;
  size_t before_;
};

inline void check_tables(const char* step, int64_t bytes) {
  check(bytes <= MemoryLimit::table_bytes(), step,
        "expected tables of at most " + std::to_string(MemoryLimit::table_bytes()) + " bytes for these shapes, found " +
            std::to_string(bytes));
}

inline void check_packed(const char* step, size_t parts, size_t part_bytes) {
  check(parts <= MemoryLimit::packed_bytes() / part_bytes, step,
        "expected packed weights of at most " + std::to_string(MemoryLimit::packed_bytes()) + " bytes, found " +
            std::to_string(parts) + " times " + std::to_string(part_bytes));
}

inline void check_dtype(const char* step, const TensorDesc& t, DType dtype) {
  check(t.dtype == dtype, step, std::string("expected ") + dtype_name(dtype) + ", found " + shape_text(t));
}

inline void check_same_shape(const char* step, const TensorDesc& a, const TensorDesc& b) {
  bool same = a.rank == b.rank;
  for (int i = 0; same && i < a.rank; ++i) same = a.dims[i] == b.dims[i];
  check(same, step, "shapes differ: " + shape_text(a) + " and " + shape_text(b));
}

// One value for each output channel, or none.
inline void check_per_channel(const char* step, const char* what, size_t found, int channels) {
  check(found == 0 || found == static_cast<size_t>(channels), step,
        std::to_string(found) + " " + what + " for " + std::to_string(channels) + " output channels");
}

// The slopes of a layer that ends in one for each channel, in place of an activation.
inline void check_slopes(const char* step, size_t found, const Activation& activation, int channels) {
  check_per_channel(step, "slopes", found, channels);
  check(found == 0 || activation.kind == ActivationKind::none, step,
        std::string("expected no activation beside slopes, found ") + activation_name(activation.kind));
}

// int8: one bias for each output channel or none, and a weight scale for each or one for all.
inline void check_quantized(const char* step, size_t biases, size_t weight_scales, int channels) {
  check_per_channel(step, "biases", biases, channels);
  check(weight_scales == 1 || weight_scales == static_cast<size_t>(channels), step,
        std::to_string(weight_scales) + " weight scales for " + std::to_string(channels) + " output channels");
}

inline bool same_quant(const TensorDesc& a, const TensorDesc& b) {
  return a.quant.scale == b.quant.scale && a.quant.zero_point == b.quant.zero_point;
}

}  // namespace edgelane
