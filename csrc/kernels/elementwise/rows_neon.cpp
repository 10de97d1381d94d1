#include "kernels/elementwise/rows.inl"
#include "kernels/simd/vec_neon.hpp"

namespace edgelane::neon {

extern const ElementwiseRows elementwise_rows = make_rows<VecF32Neon>();

}  // namespace edgelane::neon
