#include "kernels/movement/words.inl"
#include "kernels/simd/vec_avx512.hpp"

namespace edgelane::avx512 {

extern const MoveWords move_words = make_words<VecF32Avx512>();

}  // namespace edgelane::avx512
