#include "kernels/simd/vec_avx512.hpp"
#include "kernels/softmax/rows.inl"

namespace edgelane::avx512 {

extern const SoftmaxRows softmax_rows = make_rows<VecF32Avx512>();

}  // namespace edgelane::avx512
