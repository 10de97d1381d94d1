// Restores the border of one output plane: everything that is not a pixel (formats/layout.hpp). In an anonymous namespace, so
// that each source file compiles its own copy with its own flags.
#pragma once

#include <cstdint>

#include "formats/layout.hpp"

namespace edgelane {
namespace {

// T is float, or uint32_t for a quad of int8 channels. `value` is 0, or the biased zero point four times.
template <class T>
inline void fill_border(const PlanarLayout& layout, T* plane, T value) {
  for (int64_t i = 0; i < layout.origin; ++i) plane[i] = value;
  const int gap = layout.pitch - layout.width;
  T* row_end = plane + layout.origin + layout.width;
  if (gap > 0)
    for (int y = 0; y < layout.height; ++y, row_end += layout.pitch)
      for (int i = 0; i < gap; ++i) row_end[i] = value;
  for (int64_t i = layout.origin + static_cast<int64_t>(layout.height) * layout.pitch; i < layout.plane; ++i) plane[i] = value;
}

// The biased zero point in all four bytes of a quad.
inline uint32_t border_quad(int32_t zero_point) { return 0x01010101u * static_cast<uint32_t>(zero_point + kActivationBias); }

}  // namespace
}  // namespace edgelane
