#include "kernels/simd/vec_avx2.hpp"
#include "kernels/softmax/rows.inl"

namespace edgelane::avx2 {

extern const SoftmaxRows softmax_rows = make_rows<VecF32Avx2>();

}  // namespace edgelane::avx2
