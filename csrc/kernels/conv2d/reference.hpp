// The definition of conv2d in code: one loop per index, never optimised. What every kernel is tested against.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels/border.hpp"
#include "kernels/conv2d/conv2d.hpp"
#include "kernels/conv2d/requantize.hpp"

namespace edgelane {

// Calls f(channel of the input, index in its plane, index into the weights) for each tap of output (oc, y, x).
template <class F>
void for_each_tap(const Conv2dProblem& p, int oc, int y, int x, const F& f) {
  const int group_ic = p.input.channels / p.groups, group_oc = p.output.channels / p.groups;
  for (int i = 0; i < group_ic; ++i)
    for (int ky = 0; ky < p.kernel_h; ++ky)
      for (int kx = 0; kx < p.kernel_w; ++kx) {
        const int channel = oc / group_oc * group_ic + i;
        const int row = y * p.stride_h - p.pad_top + ky * p.dilation_h;
        const int column = x * p.stride_w - p.pad_left + kx * p.dilation_w;
        const size_t weight = ((static_cast<size_t>(oc) * group_ic + i) * p.kernel_h + ky) * p.kernel_w + kx;
        f(channel, p.input.index(row, column), weight);
      }
}

// Sums in double. `magnitude`, where given, has the shape of y and receives the sum of the absolute values of all terms, from
// which a test derives its tolerance.
inline void reference_conv2d_f32(const Conv2dProblem& p, Span<const float> weights, Span<const float> bias, const float* x,
                                 const float* residual, float* y, float* magnitude = nullptr, Span<const float> slope = {}) {
  for (int n = 0; n < p.output.batch; ++n)
    for (int oc = 0; oc < p.output.channels; ++oc) {
      const int64_t out_plane = (static_cast<int64_t>(n) * p.output.channels + oc) * p.output.plane;
      fill_border(y + out_plane, p.output, 0);
      for (int oy = 0; oy < p.output.height; ++oy)
        for (int ox = 0; ox < p.output.width; ++ox) {
          double sum = bias.empty() ? 0.0 : bias[static_cast<size_t>(oc)];
          double terms = std::fabs(sum);
          for_each_tap(p, oc, oy, ox, [&](int channel, int64_t index, size_t weight) {
            const double term = static_cast<double>(weights[weight]) *
                                x[(static_cast<int64_t>(n) * p.input.channels + channel) * p.input.plane + index];
            sum += term;
            terms += std::fabs(term);
          });
          if (p.residual.channels != 0) {
            const double r =
                residual[(static_cast<int64_t>(n) * p.residual.channels + oc) * p.residual.plane + p.residual.index(oy, ox)];
            sum += r;
            terms += std::fabs(r);
          }
          const float t = static_cast<float>(sum);
          y[out_plane + p.output.index(oy, ox)] = slope.empty() ? activate(t, p.activation)
                                                  : t < 0       ? slope[static_cast<size_t>(oc)] * t
                                                                : t;
          if (magnitude != nullptr) magnitude[out_plane + p.output.index(oy, ox)] = static_cast<float>(terms);
        }
    }
}

// y is uint8_t (biased int8) or float, as quant.float_output says.
inline void reference_conv2d_s8(const Conv2dProblem& p, const Conv2dS8Params& quant, Span<const int8_t> weights,
                                Span<const int32_t> bias, const uint8_t* x, const uint8_t* residual, void* y,
                                Span<const float> slope = {}) {
  const int channels = p.output.channels, groups = p.output.groups(true);
  const FoldedScales f = fold_scales(quant, p.activation, channel_slopes(p.activation, slope, channels), p.residual.channels != 0,
                                     channels, weights, bias);
  uint8_t* y_s8 = static_cast<uint8_t*>(y);
  float* y_f32 = static_cast<float*>(y);
  for (int n = 0; n < p.output.batch; ++n) {
    if (!quant.float_output) {  // borders and the channels that pad the last group of four
      for (int g = 0; g < groups; ++g)
        for (int64_t i = 0; i < p.output.plane * kChannelGroup; ++i)
          y_s8[(static_cast<int64_t>(n) * groups + g) * p.output.plane * kChannelGroup + i] =
              static_cast<uint8_t>(f.requantize.output_zero);
    }
    for (int oc = 0; oc < channels; ++oc) {
      if (quant.float_output) fill_border(y_f32 + (static_cast<int64_t>(n) * channels + oc) * p.output.plane, p.output, 0);
      for (int oy = 0; oy < p.output.height; ++oy)
        for (int ox = 0; ox < p.output.width; ++ox) {
          int32_t acc = f.bias[static_cast<size_t>(oc)];
          for_each_tap(p, oc, oy, ox, [&](int channel, int64_t index, size_t weight) {
            const int64_t group = static_cast<int64_t>(n) * p.input.groups(true) + channel / kChannelGroup;
            acc =
                wrapping_add(acc, x[(group * p.input.plane + index) * kChannelGroup + channel % kChannelGroup] * weights[weight]);
          });
          uint8_t r = 0;
          if (p.residual.channels != 0) {
            const int64_t group = static_cast<int64_t>(n) * p.residual.groups(true) + oc / kChannelGroup;
            r = residual[(group * p.residual.plane + p.residual.index(oy, ox)) * kChannelGroup + oc % kChannelGroup];
          }
          const float multiplier = f.multiplier[static_cast<size_t>(oc)];
          const float below = f.slope.empty() ? 1.0f : f.slope[static_cast<size_t>(oc)];
          const int64_t index = p.output.index(oy, ox);
          if (quant.float_output) {
            y_f32[(static_cast<int64_t>(n) * channels + oc) * p.output.plane + index] =
                requantize_real(acc, multiplier, below, r, f.requantize);
          } else {
            const int64_t group = static_cast<int64_t>(n) * groups + oc / kChannelGroup;
            y_s8[(group * p.output.plane + index) * kChannelGroup + oc % kChannelGroup] =
                requantize_stored(acc, multiplier, below, r, f.requantize);
          }
        }
    }
  }
}

}  // namespace edgelane
