#include "kernels/simd/vec_neon.hpp"
#include "kernels/softmax/rows.inl"

namespace edgelane::neon {

extern const SoftmaxRows softmax_rows = make_rows<VecF32Neon>();

}  // namespace edgelane::neon
