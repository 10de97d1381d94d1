#include "kernels/reduce/rows.inl"
#include "kernels/simd/vec_scalar.hpp"

namespace edgelane::scalar {

extern const ReduceRows reduce_rows = make_rows<VecF32Scalar>();

}  // namespace edgelane::scalar
