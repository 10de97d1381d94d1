#include "kernels/simd/vec_scalar.hpp"
#include "kernels/softmax/rows.inl"

namespace edgelane::scalar {

extern const SoftmaxRows softmax_rows = make_rows<VecF32Scalar>();

}  // namespace edgelane::scalar
