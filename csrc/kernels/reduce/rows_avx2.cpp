#include "kernels/simd/vec_avx2.hpp"

#include "kernels/reduce/rows.inl"

namespace edgelane::avx2 {

extern const ReduceRows reduce_rows = make_rows<VecF32Avx2>();

}  // namespace edgelane::avx2
