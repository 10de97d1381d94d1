// One element of a tensor at a time, for the reference kernels and for steps that are too rare to be fast.
// Not for files with instruction-set flags.
#pragma once

#include <vector>

#include "formats/tensor.hpp"
#include "kernels/offsets.hpp"

namespace edgelane {

inline int8_t load_s8(const void* data, int64_t offset) {
  return static_cast<int8_t>(static_cast<const uint8_t*>(data)[offset] - kActivationBias);
}
inline void store_s8(void* data, int64_t offset, int8_t q) {
  static_cast<uint8_t*>(data)[offset] = static_cast<uint8_t>(q + kActivationBias);
}

// The real value of element `offset` of a float32 or int8 tensor.
inline float load_real(const TensorDesc& t, const void* data, int64_t offset) {
  return t.int8() ? dequantize(load_s8(data, offset), t.quant) : static_cast<const float*>(data)[offset];
}
inline void store_real(const TensorDesc& t, void* data, int64_t offset, float real) {
  if (t.int8()) {
    store_s8(data, offset, quantize(real, t.quant));
  } else {
    static_cast<float*>(data)[offset] = real;
  }
}

// For each stored byte of a tensor quantised with `from`, the stored byte of f(its real value) in a tensor quantised with `to`.
template <class F>
std::vector<uint8_t> byte_table(QuantParams from, QuantParams to, const F& f) {
  std::vector<uint8_t> table(256);
  for (int i = 0; i < 256; ++i) {
    const float real = dequantize(static_cast<int8_t>(i - kActivationBias), from);
    table[static_cast<size_t>(i)] = static_cast<uint8_t>(quantize(f(real), to) + kActivationBias);
  }
  return table;
}

}  // namespace edgelane
