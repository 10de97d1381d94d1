// How the elements of each dtype lie in memory, for code that is written once for all of them. Not for files with instruction-set
// flags.
#pragma once

#include <cstdint>

#include "formats/tensor.hpp"

namespace edgelane {

template <class T>
struct StoredAs {
  using Memory = T;
  using Value = T;
  static Value load(Memory m) { return m; }
  static Memory store(Value v) { return v; }
};

// The integers themselves, whatever the scale.
struct StoredInt8 {
  using Memory = uint8_t;
  using Value = int8_t;
  static Value load(Memory m) { return static_cast<int8_t>(m - kActivationBias); }
  static Memory store(Value v) { return static_cast<uint8_t>(v + kActivationBias); }
};

// One byte, 0 or 1: imports, constants and kernels write no others.
struct StoredBool {
  using Memory = uint8_t;
  using Value = bool;
  static Value load(Memory m) { return m != 0; }
  static Memory store(Value v) { return v ? 1 : 0; }
};

// f(the type above that stands for the dtype)
template <class F>
auto for_dtype(DType dtype, const F& f) {
  switch (dtype) {
    case DType::int8:
      return f(StoredInt8{});
    case DType::int32:
      return f(StoredAs<int32_t>{});
    case DType::int64:
      return f(StoredAs<int64_t>{});
    case DType::boolean:
      return f(StoredBool{});
    case DType::uint8:
      return f(StoredAs<uint8_t>{});
    case DType::float32:
      break;
  }
  return f(StoredAs<float>{});
}

}  // namespace edgelane
