#include "kernels/simd/vec_scalar.hpp"

#include "kernels/pool/rows.inl"

namespace edgelane::scalar {

extern const PoolRows pool_rows = make_rows<VecF32Scalar>();

}  // namespace edgelane::scalar
