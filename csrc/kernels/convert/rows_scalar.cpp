#include "kernels/convert/rows.inl"
#include "kernels/simd/vec_scalar.hpp"

namespace edgelane::scalar {

extern const ConvertRows convert_rows = make_rows<VecF32Scalar>();

}  // namespace edgelane::scalar
