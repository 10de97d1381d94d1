#include "kernels/conv_transpose2d/rows.inl"
#include "kernels/simd/vec_neon.hpp"

namespace edgelane::neon {

extern const InterleaveRows interleave_rows = make_rows<VecF32Neon>();

}  // namespace edgelane::neon
