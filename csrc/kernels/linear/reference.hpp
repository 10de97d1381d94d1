// The definition of linear layers in code, never optimised. What every kernel is tested against.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/conv2d/requantize.hpp"
#include "kernels/linear/linear.hpp"

namespace edgelane {

// Sums in double. `magnitude`, where given, is [m][oc] and receives the sum of the absolute values of all terms.
inline void reference_linear_f32(const LinearProblem& p, Span<const float> weights, Span<const float> bias, const float* x,
                                 float* y, float* magnitude = nullptr) {
  for (int m = 0; m < p.m; ++m)
    for (int oc = 0; oc < p.oc; ++oc) {
      double sum = bias.empty() ? 0.0 : bias[static_cast<size_t>(oc)];
      double terms = std::fabs(sum);
      for (int ic = 0; ic < p.ic; ++ic) {
        const double term =
            static_cast<double>(weights[static_cast<size_t>(oc) * p.ic + ic]) * x[static_cast<int64_t>(m) * p.ic + ic];
        sum += term;
        terms += std::fabs(term);
      }
      y[static_cast<int64_t>(m) * p.oc + oc] = activate(static_cast<float>(sum), p.activation);
      if (magnitude != nullptr) magnitude[static_cast<int64_t>(m) * p.oc + oc] = static_cast<float>(terms);
    }
}

// y is uint8_t (biased int8) or float, as quant.float_output says.
inline void reference_linear_s8(const LinearProblem& p, const Conv2dS8Params& quant, Span<const int8_t> weights,
                                Span<const int32_t> bias, const uint8_t* x, void* y) {
  Conv2dS8Params own = quant;
  own.has_intermediate = false;
  const FoldedScales f = fold_scales(own, p.activation, {}, false, p.oc, weights, bias);
  for (int m = 0; m < p.m; ++m)
    for (int oc = 0; oc < p.oc; ++oc) {
      int32_t acc = f.bias[static_cast<size_t>(oc)];
      for (int ic = 0; ic < p.ic; ++ic)
        acc = wrapping_add(acc, x[static_cast<int64_t>(m) * p.ic + ic] * weights[static_cast<size_t>(oc) * p.ic + ic]);
      const float multiplier = f.multiplier[static_cast<size_t>(oc)];
      const int64_t index = static_cast<int64_t>(m) * p.oc + oc;
      if (quant.float_output)
        static_cast<float*>(y)[index] = requantize_real(acc, multiplier, 1.0f, 0, f.requantize);
      else
        static_cast<uint8_t*>(y)[index] = requantize_stored(acc, multiplier, 1.0f, 0, f.requantize);
    }
}

}  // namespace edgelane
