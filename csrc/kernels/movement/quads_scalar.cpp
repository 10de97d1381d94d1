#include "kernels/movement/quads.hpp"

namespace edgelane::scalar {

#include "kernels/movement/quads.inl"

}  // namespace edgelane::scalar
