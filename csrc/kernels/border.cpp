#include "kernels/border.hpp"

#include <algorithm>

namespace edgelane {

uint32_t zero_point_quad(QuantParams quant) noexcept {
  return static_cast<uint32_t>(static_cast<uint8_t>(quant.zero_point + kActivationBias)) * 0x01010101u;
}

uint32_t border_word(const TensorDesc& tensor) noexcept { return tensor.int8() ? zero_point_quad(tensor.quant) : 0u; }

void fill_border(void* plane, const PlanarLayout& layout, uint32_t word) noexcept {
  fill_border(plane, layout, word, {0, layout.height});
}

void fill_border(void* plane, const PlanarLayout& layout, uint32_t word, RowRange rows) noexcept {
  uint32_t* p = static_cast<uint32_t*>(plane);
  if (rows.first == 0) std::fill(p, p + layout.origin, word);
  const int gap = layout.pitch - layout.width;
  if (gap > 0) {
    uint32_t* row_end = p + layout.index(rows.first, layout.width);
    for (int y = rows.first; y < rows.last; ++y, row_end += layout.pitch) {
      for (int x = 0; x < gap; ++x) row_end[x] = word;
    }
  }
  if (rows.last == layout.height) std::fill(p + layout.index(layout.height, 0), p + layout.plane, word);
}

void fill_channel_padding(void* plane, const PlanarLayout& layout, uint32_t word) noexcept {
  fill_channel_padding(plane, layout, word, {0, layout.height});
}

void fill_channel_padding(void* plane, const PlanarLayout& layout, uint32_t word, RowRange rows) noexcept {
  const int used = layout.channels % kChannelGroup;
  if (used == 0) return;
  const uint32_t keep = (1u << (8 * used)) - 1;
  uint32_t* row = static_cast<uint32_t*>(plane) + layout.index(rows.first, 0);
  for (int y = rows.first; y < rows.last; ++y, row += layout.pitch) {
    for (int x = 0; x < layout.width; ++x) row[x] = (row[x] & keep) | (word & ~keep);
  }
}

void fill_borders(void* data, const TensorDesc& tensor) noexcept {
  if (!tensor.planar()) return;
  const PlanarLayout& layout = tensor.layout;
  const uint32_t word = border_word(tensor);
  const int groups = layout.groups(tensor.int8());
  uint32_t* plane = static_cast<uint32_t*>(data);
  for (int n = 0; n < layout.batch; ++n) {
    for (int g = 0; g < groups; ++g, plane += layout.plane) {
      fill_border(plane, layout, word);
      if (tensor.int8() && g == groups - 1) fill_channel_padding(plane, layout, word);
    }
  }
}

}  // namespace edgelane
