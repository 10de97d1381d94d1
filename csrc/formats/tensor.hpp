// Description of one activation: what a kernel must know about a tensor besides its address.
#pragma once

#include <cstddef>
#include <cstdint>

#include "formats/layout.hpp"
#include "formats/quantization.hpp"

namespace edgelane {

enum class DType : uint8_t { float32 = 0, int8 = 1, int32 = 2, int64 = 3, boolean = 4, uint8 = 5 };

const char* dtype_name(DType dtype) noexcept;
size_t dtype_bytes(DType dtype) noexcept;

constexpr int kMaxRank = 6;

struct TensorDesc {
  DType dtype = DType::float32;
  int rank = 0;
  int dims[kMaxRank] = {};
  QuantParams quant;    // int8 only
  PlanarLayout layout;  // planar tensors only

  // Rank-4 float32 and int8 activations are planar (formats/layout.hpp); everything else is a plain row-major array.
  bool planar() const { return rank == 4 && (dtype == DType::float32 || dtype == DType::int8); }
  // Whether elements lie in row-major order one behind the other.
  bool straight() const { return !planar() || (dtype == DType::float32 && layout.is_dense()); }
  bool int8() const { return dtype == DType::int8; }
  int64_t elements() const {
    int64_t n = 1;
    for (int i = 0; i < rank; ++i) n *= dims[i];
    return n;
  }
  size_t bytes() const { return planar() ? layout.bytes(int8()) : static_cast<size_t>(elements()) * dtype_bytes(dtype); }
};

// Whether element i of one lies where element i of the other does: equal sizes of elements, shapes and layouts, or as many
// elements one behind the other.
bool same_memory(const TensorDesc& a, const TensorDesc& b) noexcept;

}  // namespace edgelane
