#include "kernels/elementwise/rows.inl"
#include "kernels/simd/vec_scalar.hpp"

namespace edgelane::scalar {

extern const ElementwiseRows elementwise_rows = make_rows<VecF32Scalar>();

}  // namespace edgelane::scalar
