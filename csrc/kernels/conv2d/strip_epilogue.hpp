// The end of a strip tile: from the sums in the group's buffer to stored results. Residual, activation and requantisation are as
// in requantize.hpp, operation by operation; the bias is what the sums start from.
#pragma once

#include <cstdint>

#include "kernels/conv2d/requantize_lanes.hpp"
#include "kernels/conv2d/strip_kernel.hpp"

namespace edgelane {
namespace {

constexpr uint32_t all_lanes(int width) { return width == 32 ? ~0u : (1u << width) - 1; }

// The lanes of vector v of the residual's plane. V is a float or an integer vector; a lane without a pixel is undefined.
template <class V, class T>
EDGELANE_INLINE V load_pixels(const StripArgs& a, const T* plane, int v) {
  const Segment* s = a.residual_segments + a.residual_first[v];
  if (a.residual_single) return V::loadu(plane + s->offset);
  const Segment* const end = a.residual_segments + a.residual_first[v + 1];
  if (end - s == 1 && s->mask == all_lanes(V::width)) return V::loadu(plane + s->offset);
  V all = V::zero();
  for (; s != end; ++s) all = all + V::load_mask(plane + s->offset, s->mask);
  return all;
}

// Stores the pixels among the lanes of vector v. Where source and output have one pitch, the gaps are stored too, as border.
template <class V, class T, class Mask>
EDGELANE_INLINE void store_pixels(const StripArgs& a, T* plane, int v, V y, V border) {
  const Segment* s = a.output_segments + a.output_first[v];
  if (a.output_single) {
    if (s->mask != all_lanes(V::width)) y = select(Mask::of(s->mask), y, border);
    y.storeu(plane + s->offset);
    return;
  }
  const Segment* const end = a.output_segments + a.output_first[v + 1];
  if (end - s == 1 && s->mask == all_lanes(V::width)) return y.storeu(plane + s->offset);
  for (; s != end; ++s) y.store_mask(plane + s->offset, s->mask);
}

// added_to_steps: int8, to sums that are quantised before the residual is added (Requantize::has_intermediate).
enum class Residual { none, added, added_to_steps };

// Together, so that a call and the choice of the function are paid once.
template <class V>
__attribute__((noinline)) void activate_sums(int32_t* sums, int64_t count, const Activation& activation) {
  for (int64_t i = 0; i < count; i += V::width) {
    const V y = apply_activation(V::Int::load(sums + i).bitcast(), activation);
    y.bitcast().store(sums + i);
  }
}

template <class Path>
struct StripEpilogue {
  using Acc = typename Path::Acc;
  using V = typename Path::Float;
  using I = typename V::Int;
  using Mask = typename V::Mask;
  static constexpr int kLanes = V::width;

  const StripArgs& a;
  int image, first_vector;

  // What the sums of output channel `oc` start from.
  EDGELANE_INLINE Acc start(int oc) const {
    if constexpr (Path::kInt8)
      return I::broadcast(a.bias_s32[oc]);
    else
      return V::broadcast(a.bias[oc]);
  }

  // Asks for the lines that the epilogue will touch of BlockOc output channels: each lies in another plane, where the hardware
  // sees no stream to follow.
  template <int BlockOc, int Vectors>
  EDGELANE_INLINE void prefetch(int oc) const {
    if (oc >= a.oc) return;
    constexpr int kRows = Path::kInt8 ? (BlockOc + kChannelGroup - 1) / kChannelGroup : BlockOc;
    const uint32_t* const y = direct_output<uint32_t>(plane_of(oc));
#pragma GCC unroll 8
    for (int row = 0; row < kRows; ++row)
#pragma GCC unroll 16
      for (int v = 0; v < Vectors; ++v) __builtin_prefetch(y + row * a.output_layout.plane + v * kLanes, 1, 2);
    if (a.residual == nullptr || a.residual == a.output) return;
    const uint32_t* const residual = direct_residual<uint32_t>(plane_of(oc));
#pragma GCC unroll 8
    for (int row = 0; row < kRows; ++row)
#pragma GCC unroll 16
      for (int v = 0; v < Vectors; ++v) __builtin_prefetch(residual + row * a.residual_plane + v * kLanes, 0, 2);
  }

  // Direct float32 results of one output channel with a clamp, from registers.
  template <Residual R, int Vectors>
  EDGELANE_INLINE void finish_channel(const Acc (&sums)[Vectors], int oc) const {
    const DirectF32<R, false> row(*this, oc);
#pragma GCC unroll 16
    for (int v = 0; v < Vectors; ++v) row.store(sums[v], v);
  }

  // Sums of a tile's Vectors vectors and of `channels` output channels from `oc` on: [channel][vector][lane]. They may be
  // overwritten. Kernels of any number of output channels share a function for each tile size, and one for rare ends: with copies
  // in every tile these files took twice as long to compile. One function for all tile sizes made networks 3 to 9 % slower.
  template <int Vectors>
  __attribute__((noinline)) void finish(int32_t* sums, int channels, int oc) const {
    if (a.oc - oc < channels) channels = a.oc - oc;
    if constexpr (!Path::kInt8) {
      if (a.direct && !a.activation.clamp && a.slope == nullptr)
        activate_sums<V>(sums, int64_t{channels} * Vectors * kLanes, a.activation.any);
    }
    if (a.direct && a.slope == nullptr)
      finish_direct<Vectors, false>(sums, channels, oc);
    else if (a.direct)
      finish_direct<Vectors, true>(sums, channels, oc);
    else if (a.activation.clamp || a.slope != nullptr)
      finish_general<false>(sums, Vectors, channels, oc);
    else
      finish_general<true>(sums, Vectors, channels, oc);
  }

 private:
  static EDGELANE_INLINE int plane_of(int oc) { return Path::kInt8 ? oc / kChannelGroup : oc; }
  template <class T>
  EDGELANE_INLINE T* output_plane(int plane) const {
    return static_cast<T*>(a.output) + (static_cast<int64_t>(image) * a.output_planes + plane) * a.output_layout.plane;
  }
  template <class T>
  EDGELANE_INLINE const T* residual_plane(int plane) const {
    return static_cast<const T*>(a.residual) + (static_cast<int64_t>(image) * a.residual_planes + plane) * a.residual_plane;
  }
  // The tile's first position, where the plane has the source's pitch.
  template <class T>
  EDGELANE_INLINE T* direct_output(int plane) const {
    return output_plane<T>(plane) + a.output_layout.origin + static_cast<int64_t>(first_vector) * kLanes;
  }
  template <class T>
  EDGELANE_INLINE const T* direct_residual(int plane) const {
    return residual_plane<T>(plane) + a.residual_origin + static_cast<int64_t>(first_vector) * kLanes;
  }

  // From int8 to bytes as stored, and back.
  static EDGELANE_INLINE I biased(I quad) { return quad ^ I::broadcast(static_cast<int32_t>(0x80808080)); }

  // The bytes of a quad that belong to channels that exist, `oc` being its first.
  EDGELANE_INLINE I channel_bytes(int oc) const {
    return I::broadcast(oc + kChannelGroup <= a.oc ? -1 : static_cast<int32_t>((1u << 8 * (a.oc - oc)) - 1));
  }
  // The others hold the border.
  EDGELANE_INLINE I with_padding(I quad, I channels) const {
    const I border = I::broadcast(static_cast<int32_t>(a.requantize.output_border));
    return ((quad ^ border) & channels) ^ border;
  }

  // The sum of vector v, `channel` channels after the first.
  static EDGELANE_INLINE Acc sum(const int32_t* sums, int vectors, int channel, int v) {
    return Path::load_sum(sums + (int64_t{channel} * vectors + v) * kLanes);
  }

  template <int Vectors, bool Sloped>
  EDGELANE_INLINE void finish_direct(const int32_t* sums, int channels, int oc) const {
    if (a.residual == nullptr)
      finish_direct<Vectors, Residual::none, Sloped>(sums, channels, oc);
    else if (Path::kInt8 && a.requantize.has_intermediate)
      finish_direct<Vectors, Residual::added_to_steps, Sloped>(sums, channels, oc);
    else
      finish_direct<Vectors, Residual::added, Sloped>(sums, channels, oc);
  }

  template <int Vectors, Residual R, bool Sloped>
  EDGELANE_INLINE void finish_direct(const int32_t* sums, int channels, int oc) const {
    if constexpr (!Path::kInt8) {
      for (int o = 0; o < channels; ++o) {
        const DirectF32<R, Sloped> row(*this, oc + o);
#pragma GCC unroll 16
        for (int v = 0; v < Vectors; ++v) row.store(sum(sums, Vectors, o, v), v);
      }
    } else {
      for (int o = 0; o < channels; o += kChannelGroup) {
        const DirectQuad<R, Sloped> row(*this, oc + o);
#pragma GCC unroll 16
        for (int v = 0; v < Vectors; ++v)  // sums past the last channel hold anything: their multiplier is 0
          row.store(sum(sums, Vectors, o, v), sum(sums, Vectors, o + 1, v), sum(sums, Vectors, o + 2, v),
                    sum(sums, Vectors, o + 3, v), v);
      }
    }
  }

  // Any activation (General), or one that is a clamp or slopes.
  template <bool General>
  __attribute__((noinline)) void finish_general(const int32_t* sums, int vectors, int channels, int oc) const {
    if constexpr (!Path::kInt8) {
      for (int o = 0; o < channels; ++o)
        for (int v = 0; v < vectors; ++v) finish_f32<General>(sum(sums, vectors, o, v), oc + o, v);
    } else {
      for (int o = 0; o < channels; o += kChannelGroup)
        for (int v = 0; v < vectors; ++v) {
          Acc quad[kChannelGroup];
          for (int i = 0; i < kChannelGroup; ++i) quad[i] = o + i < channels ? sum(sums, vectors, o + i, v) : Acc::zero();
          finish_quad<General>(quad[0], quad[1], quad[2], quad[3], oc + o, v);
        }
    }
  }

  // Direct results: the activation is slopes (Sloped) or a clamp, int8 goes to int8 at once, and output and residual have the
  // source's pitch, so that vectors lie side by side and only gaps between rows need a mask.
  // Both hold copies of all that they need, which stores of results cannot change.
  template <Residual R, bool Sloped>
  struct DirectF32 {
    const Segment* segments;
    const float* residual = nullptr;
    float* y;
    float lo, hi;
    V slope;
    EDGELANE_INLINE DirectF32(const StripEpilogue& e, int oc)
        : segments(e.a.output_segments + e.first_vector),
          y(e.template direct_output<float>(oc)),
          lo(e.a.activation.lo),
          hi(e.a.activation.hi) {
      if constexpr (R != Residual::none) residual = e.template direct_residual<float>(oc);
      if constexpr (Sloped) slope = V::broadcast(e.a.slope[oc]);
    }
    EDGELANE_INLINE void store(V sum, int v) const {
      if constexpr (R != Residual::none) sum = sum + V::loadu(residual + v * kLanes);
      if constexpr (Sloped)
        sum = slope_lanes(sum, slope);
      else
        sum = clamp_lanes(sum, lo, hi);
      select(Mask::of(segments[v].mask), sum, V::zero()).storeu(y + v * kLanes);
    }
  };

  template <Residual R, bool Sloped>
  struct DirectQuad {
    const Segment* segments;
    const uint32_t* residual = nullptr;
    uint32_t* y;
    V multiplier[kChannelGroup], slope[kChannelGroup];
    V intermediate_lo, intermediate_hi, intermediate_scale, residual_zero, residual_scale;
    I lowest, highest, border;  // bounds as int8, border as stored
    int32_t output_zero;
    bool clips;
    EDGELANE_INLINE DirectQuad(const StripEpilogue& e, int oc)
        : segments(e.a.output_segments + e.first_vector), y(e.template direct_output<uint32_t>(plane_of(oc))) {
      if constexpr (R != Residual::none) residual = e.template direct_residual<uint32_t>(plane_of(oc));
      for (int i = 0; i < kChannelGroup; ++i) {
        multiplier[i] = V::broadcast(e.a.multiplier[oc + i]);
        if constexpr (Sloped) slope[i] = V::broadcast(e.a.slope[oc + i]);
      }
      const Requantize& r = e.a.requantize;
      intermediate_lo = V::broadcast(r.intermediate_lo);
      intermediate_hi = V::broadcast(r.intermediate_hi);
      intermediate_scale = V::broadcast(r.intermediate_scale);
      residual_zero = V::broadcast(kByteBase + static_cast<float>(r.residual_zero));
      residual_scale = V::broadcast(r.residual_scale);
      lowest = biased(I::broadcast(static_cast<int32_t>(r.lowest)));
      highest = biased(I::broadcast(static_cast<int32_t>(r.highest)));
      border = I::broadcast(static_cast<int32_t>(r.output_border));
      output_zero = r.output_zero - kActivationBias;
      clips = r.highest != ~0u;
    }
    EDGELANE_INLINE void store(Acc acc0, Acc acc1, Acc acc2, Acc acc3, int v) const {
      I stored = I::zero();
      if constexpr (R != Residual::none) stored = I::loadu(residual + v * kLanes);
      I quad = pack_s8(lane<0>(acc0, stored), lane<1>(acc1, stored), lane<2>(acc2, stored), lane<3>(acc3, stored), output_zero);
      quad = max_bytes(quad, lowest);
      if (clips) quad = min_bytes(quad, highest);
      select(Mask::of(segments[v].mask), biased(quad), border).storeu(y + v * kLanes);
    }
    template <int Channel>
    EDGELANE_INLINE I lane(Acc acc, I stored) const {
      V v = acc.to_float() * multiplier[Channel];
      if constexpr (R == Residual::added_to_steps)
        v = round_even(min(max(v, intermediate_lo), intermediate_hi)) * intermediate_scale;
      if constexpr (R != Residual::none) v = v + residual_bytes<Channel>(stored, residual_zero, residual_scale);
      if constexpr (Sloped) v = slope_lanes(v, slope[Channel]);
      return v.to_int();
    }
  };

  template <bool General>
  EDGELANE_INLINE void finish_f32(V y, int oc, int v) const {
    if (a.residual != nullptr) y = y + load_pixels<V>(a, residual_plane<float>(oc), first_vector + v);
    if constexpr (General)
      y = activate_out_of_line(y, a.activation.any);
    else if (a.slope != nullptr)
      y = slope_lanes(y, V::broadcast(a.slope[oc]));
    else
      y = clamp_lanes(y, a.activation.lo, a.activation.hi);
    store_f32(y, oc, v);
  }

  EDGELANE_INLINE void store_f32(V y, int oc, int v) const {
    store_pixels<V, float, Mask>(a, output_plane<float>(oc), first_vector + v, y, V::zero());
  }

  template <bool General>
  EDGELANE_INLINE V requantize_f32(Acc acc, I stored, int oc) const {
    const V slope = V::broadcast(a.slope == nullptr ? 1.0f : a.slope[oc]);
    return requantize_lanes<General>(acc, V::broadcast(a.multiplier[oc]), slope, stored, a.requantize);
  }

  // Four channels from oc on, those past the last one are padding.
  template <bool General>
  EDGELANE_INLINE void finish_quad(Acc acc0, Acc acc1, Acc acc2, Acc acc3, int oc, int v) const {
    const Requantize& r = a.requantize;
    I residual = I::zero();
    if (r.has_residual) residual = load_pixels<I>(a, residual_plane<uint32_t>(plane_of(oc)), first_vector + v);
    const I byte = I::broadcast(255);
    const V y0 = requantize_f32<General>(acc0, residual & byte, oc);
    const V y1 = requantize_f32<General>(acc1, residual.template shr<8>() & byte, oc + 1);
    const V y2 = requantize_f32<General>(acc2, residual.template shr<16>() & byte, oc + 2);
    const V y3 = requantize_f32<General>(acc3, residual.template shr<24>(), oc + 3);
    if (r.float_output) {
      store_f32(y0, oc, v);
      if (oc + 1 < a.oc) store_f32(y1, oc + 1, v);
      if (oc + 2 < a.oc) store_f32(y2, oc + 2, v);
      if (oc + 3 < a.oc) store_f32(y3, oc + 3, v);
      return;
    }
    const I steps = pack_s8(y0.to_int(), y1.to_int(), y2.to_int(), y3.to_int(), r.output_zero - kActivationBias);
    const I quad = with_padding(biased(steps), channel_bytes(oc));
    const I border = I::broadcast(static_cast<int32_t>(r.output_border));
    store_pixels<I, uint32_t, Mask>(a, output_plane<uint32_t>(plane_of(oc)), first_vector + v, quad, border);
  }
};

}  // namespace
}  // namespace edgelane
