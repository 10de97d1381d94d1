#include "kernels/simd/vec_scalar.hpp"

#include "kernels/elementwise/rows.inl"

namespace edgelane::scalar {

extern const ElementwiseRows elementwise_rows = make_rows<VecF32Scalar>();

}  // namespace edgelane::scalar
