#include "kernels/resize/rows.inl"
#include "kernels/simd/vec_neon.hpp"

namespace edgelane::neon {

extern const ResizeRows resize_rows = make_rows<VecF32Neon>();

}  // namespace edgelane::neon
