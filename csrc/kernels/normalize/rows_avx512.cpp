#include "kernels/normalize/rows.inl"
#include "kernels/simd/vec_avx512.hpp"

namespace edgelane::avx512 {

extern const NormalizeRows normalize_rows = make_rows<VecF32Avx512>();

}  // namespace edgelane::avx512
