#include "kernels/conv_transpose2d/rows.inl"
#include "kernels/simd/vec_avx512.hpp"

namespace edgelane::avx512 {

extern const InterleaveRows interleave_rows = make_rows<VecF32Avx512>();

}  // namespace edgelane::avx512
