#include "kernels/normalize/rows.inl"
#include "kernels/simd/vec_avx2.hpp"

namespace edgelane::avx2 {

extern const NormalizeRows normalize_rows = make_rows<VecF32Avx2>();

}  // namespace edgelane::avx2
