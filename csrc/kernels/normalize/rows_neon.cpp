#include "kernels/normalize/rows.inl"
#include "kernels/simd/vec_neon.hpp"

namespace edgelane::neon {

extern const NormalizeRows normalize_rows = make_rows<VecF32Neon>();

}  // namespace edgelane::neon
