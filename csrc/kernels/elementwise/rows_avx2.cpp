#include "kernels/elementwise/rows.inl"
#include "kernels/simd/vec_avx2.hpp"

namespace edgelane::avx2 {

extern const ElementwiseRows elementwise_rows = make_rows<VecF32Avx2>();

}  // namespace edgelane::avx2
