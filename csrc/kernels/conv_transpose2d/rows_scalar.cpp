#include "kernels/conv_transpose2d/rows.inl"
#include "kernels/simd/vec_scalar.hpp"

namespace edgelane::scalar {

extern const InterleaveRows interleave_rows = make_rows<VecF32Scalar>();

}  // namespace edgelane::scalar
