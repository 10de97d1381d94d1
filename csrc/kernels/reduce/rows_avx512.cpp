#include "kernels/simd/vec_avx512.hpp"

#include "kernels/reduce/rows.inl"

namespace edgelane::avx512 {

extern const ReduceRows reduce_rows = make_rows<VecF32Avx512>();

}  // namespace edgelane::avx512
