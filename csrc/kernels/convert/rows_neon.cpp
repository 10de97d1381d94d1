#include "kernels/convert/rows.inl"
#include "kernels/simd/vec_neon.hpp"

namespace edgelane::neon {

extern const ConvertRows convert_rows = make_rows<VecF32Neon>();

}  // namespace edgelane::neon
