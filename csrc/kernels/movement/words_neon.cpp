#include "kernels/movement/words.inl"
#include "kernels/simd/vec_neon.hpp"

namespace edgelane::neon {

extern const MoveWords move_words = make_words<VecF32Neon>();

}  // namespace edgelane::neon
