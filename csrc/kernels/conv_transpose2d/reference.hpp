// What transposed convolution means: every input pixel scattered through the kernel, in double; never optimised.
#pragma once

#include <vector>

#include "kernels/access.hpp"
#include "kernels/border.hpp"
#include "kernels/conv_transpose2d/conv_transpose2d.hpp"

namespace edgelane::reference {

inline void conv_transpose2d(const ConvTranspose2dProblem& p, Span<const float> weights, Span<const float> bias, const float* x,
                             float* y) {
  const PlanarLayout &in = p.input, &out = p.output;
  const int ic_per_group = in.channels / p.groups, oc_per_group = out.channels / p.groups;
  std::vector<double> sum(static_cast<size_t>(out.height) * out.width);
  for (int n = 0; n < out.batch; ++n) {
    for (int oc = 0; oc < out.channels; ++oc) {
      std::fill(sum.begin(), sum.end(), bias.empty() ? 0.0 : bias[oc]);
      const int group = oc / oc_per_group;
      for (int ic = group * ic_per_group; ic < (group + 1) * ic_per_group; ++ic) {
        const float* plane = x + (static_cast<int64_t>(n) * in.channels + ic) * in.plane;
        const float* kernel =
            weights.data() + (static_cast<int64_t>(ic) * oc_per_group + oc % oc_per_group) * p.kernel_h * p.kernel_w;
        for (int iy = 0; iy < in.height; ++iy) {
          for (int ix = 0; ix < in.width; ++ix) {
            for (int ky = 0; ky < p.kernel_h; ++ky) {
              for (int kx = 0; kx < p.kernel_w; ++kx) {
                const int oy = iy * p.stride_h - p.pad_top + ky * p.dilation_h;
                const int ox = ix * p.stride_w - p.pad_left + kx * p.dilation_w;
                if (oy < 0 || oy >= out.height || ox < 0 || ox >= out.width) continue;
                sum[static_cast<size_t>(oy) * out.width + ox] +=
                    static_cast<double>(plane[in.index(iy, ix)]) * kernel[ky * p.kernel_w + kx];
              }
            }
          }
        }
      }
      float* plane = y + (static_cast<int64_t>(n) * out.channels + oc) * out.plane;
      for (int oy = 0; oy < out.height; ++oy) {
        for (int ox = 0; ox < out.width; ++ox) {
          plane[out.index(oy, ox)] = activate(static_cast<float>(sum[static_cast<size_t>(oy) * out.width + ox]), p.activation);
        }
      }
      fill_border(plane, out, 0);
    }
  }
}

}  // namespace edgelane::reference
