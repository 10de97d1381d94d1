#include "kernels/simd/vec_scalar.hpp"

#include "kernels/reduce/rows.inl"

namespace edgelane::scalar {

extern const ReduceRows reduce_rows = make_rows<VecF32Scalar>();

}  // namespace edgelane::scalar
