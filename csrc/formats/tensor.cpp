#include "formats/tensor.hpp"

namespace edgelane {

const char* dtype_name(DType dtype) noexcept {
  switch (dtype) {
    case DType::float32:
      return "float32";
    case DType::int8:
      return "int8";
    case DType::int32:
      return "int32";
    case DType::int64:
      return "int64";
    case DType::boolean:
      return "bool";
    case DType::uint8:
      return "uint8";
  }
  return "unknown";
}

size_t dtype_bytes(DType dtype) noexcept {
  switch (dtype) {
    case DType::float32:
    case DType::int32:
      return 4;
    case DType::int64:
      return 8;
    case DType::int8:
    case DType::boolean:
    case DType::uint8:
      return 1;
  }
  return 0;
}

bool same_memory(const TensorDesc& a, const TensorDesc& b) noexcept {
  if (dtype_bytes(a.dtype) != dtype_bytes(b.dtype)) return false;
  if (a.straight() && b.straight()) return a.elements() == b.elements();
  return a.planar() && b.planar() && same_layout(a.layout, b.layout);
}

}  // namespace edgelane
