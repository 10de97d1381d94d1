#include "kernels/movement/words.inl"
#include "kernels/simd/vec_scalar.hpp"

namespace edgelane::scalar {

extern const MoveWords move_words = make_words<VecF32Scalar>();

}  // namespace edgelane::scalar
