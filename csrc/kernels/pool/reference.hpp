// What pooling means, one output element at a time; never optimised.
#pragma once

#include <algorithm>
#include <limits>

#include "kernels/access.hpp"
#include "kernels/border.hpp"
#include "kernels/pool/pool.hpp"

namespace edgelane::reference {

// Sum or maximum over the input elements that the window of output pixel (oy, ox) holds.
// max: of stored values; an empty window gives the least value of the dtype, and NaN never wins.
// average: float32 sums in double and rounds once; int8 sums exactly, then real = scale * sum / count, quantised.
inline void pool(const PoolProblem& p, const void* x, void* y) {
  const bool global = p.kind == PoolProblem::Kind::global_average;
  const int in_h = p.input.dims[2], in_w = p.input.dims[3];
  const int kernel_h = global ? in_h : p.kernel_h, kernel_w = global ? in_w : p.kernel_w;
  const ElementOffsets in(p.input), out(p.output);
  int i[4] = {};
  do {
    const int top = global ? 0 : i[2] * p.stride_h - p.pad_top, left = global ? 0 : i[3] * p.stride_w - p.pad_left;
    const int step_h = p.kind == PoolProblem::Kind::max ? p.dilation_h : 1,
              step_w = p.kind == PoolProblem::Kind::max ? p.dilation_w : 1;
    float best = -std::numeric_limits<float>::infinity();
    int8_t best_s8 = -128;
    double sum = 0;
    int64_t sum_s8 = 0;
    int count = 0;
    for (int ky = 0; ky < kernel_h; ++ky) {
      for (int kx = 0; kx < kernel_w; ++kx) {
        const int iy = top + ky * step_h, ix = left + kx * step_w;
        const bool inside = iy >= 0 && iy < in_h && ix >= 0 && ix < in_w;
        const bool padded = iy < in_h + p.pad_bottom && ix < in_w + p.pad_right;  // never before the padding: top >= -pad_top
        count += inside || (p.count_include_pad && padded);
        if (!inside) continue;
        const int at[4] = {i[0], i[1], iy, ix};
        const int64_t offset = in(at, 4);
        if (p.input.int8()) {
          const int8_t q = load_s8(x, offset);
          best_s8 = std::max(best_s8, q);
          sum_s8 += q - p.input.quant.zero_point;
        } else {
          const float v = static_cast<const float*>(x)[offset];
          best = v > best ? v : best;
          sum += v;
        }
      }
    }
    const int64_t offset = out(i, 4);
    if (p.kind == PoolProblem::Kind::max) {
      if (p.input.int8()) {
        store_s8(y, offset, best_s8);
      } else {
        static_cast<float*>(y)[offset] = best;
      }
    } else if (p.input.int8()) {
      store_s8(y, offset, quantize(p.input.quant.scale * static_cast<float>(sum_s8) / static_cast<float>(count), p.output.quant));
    } else {
      static_cast<float*>(y)[offset] = static_cast<float>(sum / count);
    }
  } while (next_index(i, p.output.dims, 4));
  fill_borders(y, p.output);
}

}  // namespace edgelane::reference
