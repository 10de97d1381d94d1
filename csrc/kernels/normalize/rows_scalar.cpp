#include "kernels/normalize/rows.inl"
#include "kernels/simd/vec_scalar.hpp"

namespace edgelane::scalar {

extern const NormalizeRows normalize_rows = make_rows<VecF32Scalar>();

}  // namespace edgelane::scalar
