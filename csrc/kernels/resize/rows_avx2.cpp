#include "kernels/resize/rows.inl"
#include "kernels/simd/vec_avx2.hpp"

namespace edgelane::avx2 {

extern const ResizeRows resize_rows = make_rows<VecF32Avx2>();

}  // namespace edgelane::avx2
