#include "kernels/pool/rows.inl"
#include "kernels/simd/vec_scalar.hpp"

namespace edgelane::scalar {

extern const PoolRows pool_rows = make_rows<VecF32Scalar>();

}  // namespace edgelane::scalar
