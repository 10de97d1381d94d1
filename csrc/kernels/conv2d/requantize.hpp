// From int32 accumulators to real or int8 results: export/FORMAT.md, "Arithmetic", with the scales folded into as few float32
// factors as possible. Reference and optimised kernels use the same factors in the same order of operations, without fused
// multiply-adds, so their results are equal bit for bit, and sums that lie exactly between two steps fall as in other engines.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <utility>
#include <vector>

#include "core/span.hpp"
#include "formats/activation.hpp"
#include "formats/layout.hpp"
#include "formats/quantization.hpp"
#include "kernels/border.hpp"
#include "kernels/conv2d/conv2d.hpp"

namespace edgelane {

// none, relu and clip are a pair of bounds, and bounds can be divided by the output's scale in advance.
inline bool is_clamp(ActivationKind kind) {
  return kind == ActivationKind::none || kind == ActivationKind::relu || kind == ActivationKind::clip;
}

// An activation as float32 kernels apply it: bounds where it is a clamp.
struct FloatActivation {
  Activation any;
  bool clamp = true;
  float lo = -std::numeric_limits<float>::infinity(), hi = std::numeric_limits<float>::infinity();

  FloatActivation() = default;
  explicit FloatActivation(const Activation& a) : any(a), clamp(is_clamp(a.kind)) {
    if (a.kind == ActivationKind::relu) lo = 0.0f;
    if (a.kind == ActivationKind::clip) lo = a.alpha, hi = a.beta;
  }
};

// What a layer ends in where it has a slope for each channel (y = x < 0 ? slope * x : x): `given`, or those of a leaky ReLU.
// Empty: its activation as it is.
inline std::vector<float> channel_slopes(const Activation& a, Span<const float> given, int channels) {
  if (a.kind == ActivationKind::leaky_relu) return std::vector<float>(static_cast<size_t>(channels), a.alpha);
  return {given.begin(), given.end()};
}

// The unit of v below is the output's scale where the activation is a clamp or slopes and the output int8, else 1.
//   u = float(acc + bias[oc]), s = multiplier[oc]
//   has_intermediate:  u = round(clamp(u * s, intermediate_lo, intermediate_hi)), s = intermediate_scale
//   v = u * s;  has_residual: v = v + float(stored residual - residual_zero) * residual_scale
//   sloped:            v = v < 0 ? slope[oc] * v : v
//   general:           v = activate(v); float output: v as it is;  int8 output: v = v * inverse_output, NaN becoming 0
//   v = clamp(v, lo, hi);  float output: v;  int8 output, as stored: round(v) + output_zero
// A NaN, which scales that overflow can make of an accumulator of 0, is clamped to the lower bound.
struct Requantize {
  bool has_intermediate = false, has_residual = false, float_output = false;
  bool sloped = false;   // the activation is a slope for each channel
  bool general = false;  // it is neither that nor a clamp
  float intermediate_lo = 0, intermediate_hi = 0, intermediate_scale = 0;
  float residual_scale = 0;
  int32_t residual_zero = 0;  // biased
  float inverse_output = 1;
  float lo = 0, hi = 0;
  int32_t output_zero = 0;     // biased
  uint32_t output_border = 0;  // a quad of it
  Activation activation;
  // int8 output and not general: no value on the way to a result is NaN or leaves what int32 holds, whatever the inputs. round(v)
  // may then be clamped as an integer, and by instructions that saturate: that gives the same, as both are monotonic.
  bool bounded = false;
  uint32_t lowest = 0, highest = 0;  // quads of what lo and hi are stored as, where bounded
};

struct FoldedScales {
  Requantize requantize;
  std::vector<float> multiplier;  // [oc]
  std::vector<float> slope;       // [oc], or empty
  std::vector<int32_t> bias;      // [oc], holds -(zero point + input_bias) * sum of the channel's weights as well, modulo 2^32
};

// Of Requantize::bounded: two values below this and one rounding each stay below 2^31.
constexpr float kLargestStep = 0x1p29f;

// weights are [oc][count / oc]; bias is empty or [oc]; slope is empty or [oc], and then takes the activation's place.
// `input_bias`: what the multiplied inputs are too high by, kActivationBias where a kernel takes them as they are stored, 0 where
// it makes signed bytes of them.
inline FoldedScales fold_scales(const Conv2dS8Params& q, const Activation& activation, std::vector<float> slope,
                                bool has_residual, int oc, Span<const int8_t> weights, Span<const int32_t> bias,
                                int input_bias = kActivationBias) {
  FoldedScales f;
  f.slope = std::move(slope);
  Requantize& r = f.requantize;
  r.has_intermediate = q.has_intermediate;
  r.has_residual = has_residual;
  r.float_output = q.float_output;
  r.sloped = !f.slope.empty();
  r.general = !r.sloped && !is_clamp(activation.kind);
  r.activation = activation;
  const float unit = r.general || q.float_output ? 1.0f : q.output.scale;
  if (q.has_intermediate) {
    r.intermediate_lo = -128.0f - static_cast<float>(q.intermediate.zero_point);
    r.intermediate_hi = 127.0f - static_cast<float>(q.intermediate.zero_point);
    r.intermediate_scale = q.intermediate.scale / unit;
  }
  r.residual_scale = q.residual.scale / unit;
  r.residual_zero = q.residual.zero_point + kActivationBias;
  r.inverse_output = 1.0f / q.output.scale;
  const FloatActivation bounds = r.general || r.sloped ? FloatActivation() : FloatActivation(activation);
  if (q.float_output) {
    r.lo = bounds.lo;
    r.hi = bounds.hi;
  } else {
    const float lowest = -128.0f - static_cast<float>(q.output.zero_point);
    const float highest = 127.0f - static_cast<float>(q.output.zero_point);
    r.lo = std::min(std::max(bounds.lo / unit, lowest), highest);
    r.hi = std::min(std::max(bounds.hi / unit, lowest), highest);
    r.output_zero = q.output.zero_point + kActivationBias;
    r.output_border = zero_point_quad(q.output);
  }

  const size_t per_channel = oc == 0 ? 0 : weights.size() / static_cast<size_t>(oc);
  const int32_t input_zero = q.input.zero_point + input_bias;
  const float target = q.has_intermediate ? q.intermediate.scale : unit;
  r.bounded = !q.float_output && !r.general && r.lo <= r.hi;
  for (int c = 0; c < oc; ++c) {
    const float weight_scale = q.weight_scales[q.weight_scales.size() == 1 ? 0 : static_cast<size_t>(c)];
    f.multiplier.push_back(q.input.scale * weight_scale / target);
    int64_t sum = 0, magnitude = 0;
    for (size_t i = 0; i < per_channel; ++i) {
      const int32_t weight = weights[static_cast<size_t>(c) * per_channel + i];
      sum += weight;
      magnitude += std::abs(weight);
    }
    const int64_t total = (bias.empty() ? 0 : static_cast<int64_t>(bias[static_cast<size_t>(c)])) - sum * input_zero;
    f.bias.push_back(static_cast<int32_t>(total));
    // What the accumulator cannot exceed; one that wraps around stays below 2^31 all the same.
    const float largest = std::fabs(static_cast<float>(f.bias.back())) + 255.0f * static_cast<float>(magnitude);
    const float steepness = f.slope.empty() ? 1.0f : std::fabs(f.slope[static_cast<size_t>(c)]);
    const float growth = steepness <= 1.0f ? 1.0f : steepness;  // a NaN stays one
    r.bounded = r.bounded && std::min(largest, 0x1p31f) * f.multiplier.back() * growth < kLargestStep &&
                (!has_residual || 255 * r.residual_scale * growth < kLargestStep) &&
                (!q.has_intermediate || 255 * r.intermediate_scale * growth < kLargestStep);
  }
  if (r.bounded) {
    const auto stored = [&](float bound) { return static_cast<uint32_t>(std::lrintf(bound) + r.output_zero) * 0x01010101u; };
    r.lowest = stored(r.lo);
    r.highest = stored(r.hi);
  }
  return f;
}

// One more product of an int8 sum. Sums wrap around, as those of vectors do: with the bias, which takes the stored values' 128
// away again, they are exact.
inline int32_t wrapping_add(int32_t sum, int32_t product) {
  return static_cast<int32_t>(static_cast<uint32_t>(sum) + static_cast<uint32_t>(product));
}

// The order of the comparisons is that of the vectors' max and min, for NaN and for zeros of either sign.
inline float requantize_clamp(float v, float lo, float hi) {
  v = v > lo ? v : lo;
  return v < hi ? v : hi;
}

// The definition, for one element. `acc` has the folded bias in it; `residual` is as stored. An int8 result is as stored too.
inline float requantize_real(int32_t acc, float multiplier, float slope, uint8_t residual, const Requantize& r) {
  float u = static_cast<float>(acc), s = multiplier;
  if (r.has_intermediate) {
    u = std::nearbyintf(requantize_clamp(u * s, r.intermediate_lo, r.intermediate_hi));
    s = r.intermediate_scale;
  }
  float v = u * s;
  if (r.has_residual) v = v + static_cast<float>(residual - r.residual_zero) * r.residual_scale;
  if (r.sloped && v < 0.0f) v = slope * v;
  if (r.general) {
    v = activate(v, r.activation);
    if (r.float_output) return v;
    v = v * r.inverse_output;
    if (std::isnan(v)) v = 0.0f;
  }
  return requantize_clamp(v, r.lo, r.hi);
}
inline uint8_t requantize_stored(int32_t acc, float multiplier, float slope, uint8_t residual, const Requantize& r) {
  const float v = requantize_real(acc, multiplier, slope, residual, r);
  return static_cast<uint8_t>(static_cast<int32_t>(std::nearbyintf(v)) + r.output_zero);
}

}  // namespace edgelane
