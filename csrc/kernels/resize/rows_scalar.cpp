#include "kernels/resize/rows.inl"
#include "kernels/simd/vec_scalar.hpp"

namespace edgelane::scalar {

extern const ResizeRows resize_rows = make_rows<VecF32Scalar>();

}  // namespace edgelane::scalar
