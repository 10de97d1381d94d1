// The rule of formats/layout.hpp that every step follows: what is not a pixel of a plane holds 0 (float32) or the zero point
// (int8).
#pragma once

#include <cstdint>

#include "formats/layout.hpp"
#include "formats/quantization.hpp"
#include "formats/tensor.hpp"

namespace edgelane {

// A plane element is 32 bits wide in both layouts: one float32, or a quad of biased int8. This is the quad of the zero point.
uint32_t zero_point_quad(QuantParams quant) noexcept;

// The border word of a planar tensor: the bits of 0.0f, or the quad of the zero point.
uint32_t border_word(const TensorDesc& tensor) noexcept;

// Rows first to last - 1 of an image.
struct RowRange {
  int first, last;
};

// Sets everything in one plane that is not a pixel: before pixel (0, 0), the gap behind every row, and behind the last pixel.
void fill_border(void* plane, const PlanarLayout& layout, uint32_t word) noexcept;

// The part of it that goes with some rows: what is before row 0 with row 0, what is behind the last row with that.
void fill_border(void* plane, const PlanarLayout& layout, uint32_t word, RowRange rows) noexcept;

// Sets the lanes of the last group's pixels that no channel uses. `plane` is the last group's plane.
void fill_channel_padding(void* plane, const PlanarLayout& layout, uint32_t word) noexcept;
void fill_channel_padding(void* plane, const PlanarLayout& layout, uint32_t word, RowRange rows) noexcept;

// Both of the above for every plane of a planar tensor; nothing for a plain one.
void fill_borders(void* data, const TensorDesc& tensor) noexcept;

}  // namespace edgelane
