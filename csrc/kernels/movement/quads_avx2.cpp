#include "kernels/movement/quads.hpp"

namespace edgelane::avx2 {

#include "kernels/movement/quads.inl"

}  // namespace edgelane::avx2
