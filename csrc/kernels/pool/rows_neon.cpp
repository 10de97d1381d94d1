#include "kernels/pool/rows.inl"
#include "kernels/simd/vec_neon.hpp"

namespace edgelane::neon {

extern const PoolRows pool_rows = make_rows<VecF32Neon>();

}  // namespace edgelane::neon
