#include "kernels/movement/quads.hpp"

namespace edgelane::neon {

#include "kernels/movement/quads.inl"

}  // namespace edgelane::neon
