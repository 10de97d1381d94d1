#include "kernels/movement/quads.hpp"

namespace edgelane::avx512 {

#include "kernels/movement/quads.inl"

}  // namespace edgelane::avx512
