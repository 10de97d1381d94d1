#include "kernels/simd/vec_avx512.hpp"

#include "kernels/convert/rows.inl"

namespace edgelane::avx512 {

extern const ConvertRows convert_rows = make_rows<VecF32Avx512>();

}  // namespace edgelane::avx512
