#include "kernels/simd/vec_avx512.hpp"

#include "kernels/pool/rows.inl"

namespace edgelane::avx512 {

extern const PoolRows pool_rows = make_rows<VecF32Avx512>();

}  // namespace edgelane::avx512
