// Planar activation layout: one definition for every kernel and for the memory plan.
//
// A rank-4 activation [n][c][h][w] is stored as planes, one for each channel (float32) or for each group of four channels (int8).
// A plane is the image with a border around it, rows contiguous:
//
//   origin ──► pixel (0,0) … pixel (0,w-1) gap gap        gap = max(left, right) columns, shared by the right border of a row
//              pixel (1,0) … pixel (1,w-1) gap gap        and the left border of the next one
//              …
//
// so that a convolution tap (dy, dx) is the constant offset dy * pitch + dx, and a whole map is one strip of height * pitch
// elements that starts at a vector boundary. Everything in a plane that is not a pixel is border. It always holds 0 (float32) or
// the zero point (int8): every step that writes a tensor leaves the whole border of its planes at that value.
//
// float32: element (n, c, y, x) is  data[(n * groups + c) * plane + index(y, x)],            groups = c
// int8:    element (n, c, y, x) is  data[((n * groups + c / 4) * plane + index(y, x)) * 4 + c % 4],  groups = ceil(c / 4)
//
// A float32 tensor that no step reads or writes by strips and taps is dense: without a border, planes side by side, so that its
// elements lie in row-major order like those of a tensor of any other rank.
//
// int8 values are stored biased, q + 128 as uint8, because x86's dot product takes unsigned times signed; channels that pad the
// last group of four hold the zero point. Tensors of any other rank are plain row-major arrays (int8 ones biased too).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace edgelane {

constexpr int kPlaneAlign = 16;       // elements (float32, or int8 quads): one 64-byte line
constexpr int kChannelGroup = 4;      // int8 channels that lie side by side
constexpr int kActivationBias = 128;  // stored = q + 128

struct Border {
  int top = 0, left = 0, bottom = 0, right = 0;
  Border merged(const Border& o) const {
    return {std::max(top, o.top), std::max(left, o.left), std::max(bottom, o.bottom), std::max(right, o.right)};
  }
};

struct PlanarLayout {
  int batch = 1, channels = 0, height = 0, width = 0;
  int pitch = 0;       // elements from a row to the next: width + max(left, right)
  int64_t origin = 0;  // index of pixel (0, 0) in a plane, a multiple of kPlaneAlign
  int64_t plane = 0;  // elements of a plane: unless dense, an odd multiple of kPlaneAlign, so that planes do not share cache sets
  Border border;

  PlanarLayout() = default;
  PlanarLayout(int n, int c, int h, int w, Border b = {}) : batch(n), channels(c), height(h), width(w), border(b) {
    const int gap = std::max(b.left, b.right);
    pitch = w + gap;
    const int64_t before = static_cast<int64_t>(b.top) * pitch + gap;
    origin = (before + kPlaneAlign - 1) / kPlaneAlign * kPlaneAlign;
    // A strip may be computed to the next vector boundary, and a tap may read as far past it as it may past the last pixel.
    const int64_t strip = (strip_length() + kPlaneAlign - 1) / kPlaneAlign * kPlaneAlign;
    const int64_t end = origin + strip + static_cast<int64_t>(b.bottom) * pitch + gap;
    int64_t lines = (end + kPlaneAlign - 1) / kPlaneAlign;
    plane = (lines | 1) * kPlaneAlign;
  }

  static PlanarLayout dense(int n, int c, int h, int w) {
    PlanarLayout l;
    l.batch = n, l.channels = c, l.height = h, l.width = w;
    l.pitch = w;
    l.plane = static_cast<int64_t>(h) * w;
    return l;
  }
  bool is_dense() const { return origin == 0 && pitch == width && plane == static_cast<int64_t>(height) * width; }

  int64_t index(int y, int x) const { return origin + static_cast<int64_t>(y) * pitch + x; }
  int64_t strip_length() const { return static_cast<int64_t>(height) * pitch; }  // pixels and gaps from origin on
  int groups(bool int8) const { return int8 ? (channels + kChannelGroup - 1) / kChannelGroup : channels; }
  // Bytes of the whole tensor, border included; both element kinds take four bytes per plane element.
  size_t bytes(bool int8) const { return static_cast<size_t>(batch) * groups(int8) * plane * 4; }
};

inline bool same_layout(const PlanarLayout& a, const PlanarLayout& b) {
  return a.batch == b.batch && a.channels == b.channels && a.height == b.height && a.width == b.width && a.pitch == b.pitch &&
         a.origin == b.origin && a.plane == b.plane;
}

}  // namespace edgelane
