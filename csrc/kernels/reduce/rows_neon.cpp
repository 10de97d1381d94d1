#include "kernels/reduce/rows.inl"
#include "kernels/simd/vec_neon.hpp"

namespace edgelane::neon {

extern const ReduceRows reduce_rows = make_rows<VecF32Neon>();

}  // namespace edgelane::neon
