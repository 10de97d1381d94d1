#include "kernels/conv_transpose2d/rows.inl"
#include "kernels/simd/vec_avx2.hpp"

namespace edgelane::avx2 {

extern const InterleaveRows interleave_rows = make_rows<VecF32Avx2>();

}  // namespace edgelane::avx2
