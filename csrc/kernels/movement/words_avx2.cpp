#include "kernels/movement/words.inl"
#include "kernels/simd/vec_avx2.hpp"

namespace edgelane::avx2 {

extern const MoveWords move_words = make_words<VecF32Avx2>();

}  // namespace edgelane::avx2
