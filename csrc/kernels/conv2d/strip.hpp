// Strip convolution: y[oc][s] = sum over nonzero blocks of weight * x[offset + s], for positions s of a plane (geometry.hpp).
//
// Pixels lie in the lanes, weights are broadcast. A tile is BlockOc output channels by Vectors vectors of positions, kept in
// registers: a block costs Vectors loads, BlockOc broadcasts and BlockOc * Vectors multiply-adds. Weights are a stream of
// {offset, BlockOc weights}; dense is the stream with every block present.
//
// Input channels are cut into chunks whose part of a tile stays in the first-level cache while kGroupBlocks blocks of output
// channels use it; between chunks the sums of a group rest in a buffer on the stack.
//
// A Path says what a lane is: F32Path (below), or the int8 dot products of widening.hpp and conv2d_s8_<isa>.cpp. Included by
// conv2d_*_<isa>.cpp only; everything is in an anonymous namespace or depends on a type that is.
#pragma once

#include <cstdint>
#include <utility>

#include "kernels/border.hpp"
#include "kernels/conv2d/strip_epilogue.hpp"
#include "kernels/conv2d/strip_kernel.hpp"

namespace edgelane {
namespace {

template <class V>
struct F32Path {
  using Float = V;
  using Acc = V;
  using Input = V;
  using Weight = V;
  static constexpr bool kInt8 = false;
  static constexpr int kInputBias = 0;
  static constexpr WeightForm kForm = WeightForm::f32;
  static EDGELANE_INLINE Input load(const uint8_t* p) { return V::loadu(reinterpret_cast<const float*>(p)); }
  static EDGELANE_INLINE Weight broadcast(const uint8_t* p) { return V::broadcast(*reinterpret_cast<const float*>(p)); }
  static EDGELANE_INLINE Acc multiply_add(Acc acc, Input x, Weight w) { return muladd(x, w, acc); }
  static EDGELANE_INLINE Acc load_sum(const void* p) { return V::loadu(static_cast<const float*>(p)); }
  static EDGELANE_INLINE void store_sum(void* p, Acc acc) { acc.storeu(static_cast<float*>(p)); }
};

template <class Path, int BlockOc, int Vectors>
struct StripTile {
  using Acc = typename Path::Acc;
  static constexpr int kLanes = Path::Float::width;
  static constexpr int kBlockBytes = BlockOc * weight_bytes(Path::kForm);
  // Few sums in flight wait for each other: several blocks then have sums of their own, added at the end.
  static constexpr int kSums = BlockOc * Vectors;
  static constexpr int kSplit = kSums >= 8 ? 1 : kSums >= 4 ? 2 : 4;
  // int8 results are stored four channels at a time, so single channels meet in the buffer. So do activations that are no clamp:
  // a call within the fast loop would cost its registers.
  static constexpr bool kAlwaysBuffered = Path::kInt8 && BlockOc % kChannelGroup != 0;
  static constexpr int kBufferBlocks = kGroupBlocks;

  struct Buffer {
    alignas(64) int32_t sums[kBufferBlocks][BlockOc][Vectors][kLanes];  // Acc, as its lanes
  };

  static EDGELANE_INLINE void block(Acc (&acc)[BlockOc][Vectors], const uint8_t* x, const uint8_t* w) {
    EDGELANE_KEEP_POINTER(x);
    typename Path::Input in[Vectors];
#pragma GCC unroll 16
    for (int v = 0; v < Vectors; ++v) in[v] = Path::load(x + v * kLanes * 4);
#pragma GCC unroll 16
    for (int o = 0; o < BlockOc; ++o) {
      const typename Path::Weight weight = Path::broadcast(w + o * weight_bytes(Path::kForm));
#pragma GCC unroll 16
      for (int v = 0; v < Vectors; ++v) acc[o][v] = Path::multiply_add(acc[o][v], in[v], weight);
    }
  }

  static EDGELANE_INLINE void clear(Acc (&acc)[BlockOc][Vectors]) {
#pragma GCC unroll 16
    for (int o = 0; o < BlockOc; ++o)
#pragma GCC unroll 16
      for (int v = 0; v < Vectors; ++v) acc[o][v] = Acc::zero();
  }

  static EDGELANE_INLINE void start(Acc (&acc)[BlockOc][Vectors], const StripEpilogue<Path, BlockOc, Vectors>& epilogue, int oc) {
#pragma GCC unroll 16
    for (int o = 0; o < BlockOc; ++o) {
      const Acc bias = epilogue.start(oc + o);
#pragma GCC unroll 16
      for (int v = 0; v < Vectors; ++v) acc[o][v] = bias;
    }
  }

  // Adds blocks begin to end - 1 to acc. x is the tile's first position in plane 0.
  static EDGELANE_INLINE void accumulate(Acc (&acc)[BlockOc][Vectors], const StripArgs& a, const uint8_t* x, int begin, int end) {
    const int32_t* offset = a.offsets + begin;
    const int32_t* const last = a.offsets + end;
    const uint8_t* w = a.weights + static_cast<int64_t>(begin) * kBlockBytes;
    if constexpr (kSplit > 1) {
      Acc part[kSplit][BlockOc][Vectors];
#pragma GCC unroll 4
      for (int s = 0; s < kSplit; ++s) clear(part[s]);
      for (; last - offset >= kSplit; offset += kSplit, w += kSplit * kBlockBytes) {
#pragma GCC unroll 4
        for (int s = 0; s < kSplit; ++s) block(part[s], x + static_cast<int64_t>(offset[s]) * 4, w + s * kBlockBytes);
      }
#pragma GCC unroll 4
      for (int s = 0; s < kSplit; ++s)
#pragma GCC unroll 16
        for (int o = 0; o < BlockOc; ++o)
#pragma GCC unroll 16
          for (int v = 0; v < Vectors; ++v) acc[o][v] = acc[o][v] + part[s][o][v];
    }
    for (; offset != last; ++offset, w += kBlockBytes) block(acc, x + static_cast<int64_t>(*offset) * 4, w);
  }

  static void run(const StripArgs& a, int image, int tile, int first_group, int last_group) {
    const int first_vector = a.tiles[tile];
    const uint8_t* x = a.source + (image * a.source_batch + static_cast<int64_t>(first_vector) * kLanes) * 4;
    StripEpilogue<Path, BlockOc, Vectors> epilogue{a, image, first_vector};
    for (int group = first_group; group < last_group; ++group) {
      const int first_block = group * kGroupBlocks;
      const int blocks = a.oc_blocks - first_block < kGroupBlocks ? a.oc_blocks - first_block : kGroupBlocks;
      const int32_t* starts = a.starts + static_cast<int64_t>(first_block) * a.chunks;
      if (a.chunks == 1 && a.direct && !kAlwaysBuffered) {
        for (int b = 0; b < blocks; ++b) {
          Acc acc[BlockOc][Vectors];
          start(acc, epilogue, (first_block + b) * BlockOc);
          accumulate(acc, a, x, starts[b], starts[b + 1]);
          epilogue.finish(acc, (first_block + b) * BlockOc);
        }
      } else {
        run_buffered(a, x, starts, first_block, blocks, epilogue);
      }
    }
  }

  static void run_buffered(const StripArgs& a, const uint8_t* x, const int32_t* starts, int first_block, int blocks,
                           const StripEpilogue<Path, BlockOc, Vectors>& epilogue) {
    Buffer buffer;
    for (int chunk = 0; chunk < a.chunks; ++chunk)
      for (int b = 0; b < blocks; ++b, ++starts) {
        if (chunk > 0 && starts[0] == starts[1]) continue;
        Acc acc[BlockOc][Vectors];
        if (chunk == 0) {
          start(acc, epilogue, (first_block + b) * BlockOc);
        } else {
#pragma GCC unroll 16
          for (int o = 0; o < BlockOc; ++o)
#pragma GCC unroll 16
            for (int v = 0; v < Vectors; ++v) acc[o][v] = Path::load_sum(buffer.sums[b][o][v]);
        }
        accumulate(acc, a, x, starts[0], starts[1]);
#pragma GCC unroll 16
        for (int o = 0; o < BlockOc; ++o)
#pragma GCC unroll 16
          for (int v = 0; v < Vectors; ++v) Path::store_sum(buffer.sums[b][o][v], acc[o][v]);
      }
    const int oc = first_block * BlockOc;
    if (a.direct && a.residual != nullptr)
      epilogue.template finish_buffered_direct<true>(buffer.sums, blocks, oc);
    else if (a.direct)
      epilogue.template finish_buffered_direct<false>(buffer.sums, blocks, oc);
    else if (a.clamp)
      epilogue.template finish_buffered<false>(buffer.sums, blocks, oc);
    else
      epilogue.template finish_buffered<true>(buffer.sums, blocks, oc);
  }
};

template <class Path, int BlockOc, int... Count>
EDGELANE_INLINE void run_tile(const StripArgs& a, int image, int tile, int first_group, int last_group,
                              std::integer_sequence<int, Count...>) {
  static constexpr StripFunction kBySize[] = {&StripTile<Path, BlockOc, Count + 1>::run...};
  kBySize[a.tiles[tile + 1] - a.tiles[tile] - 1](a, image, tile, first_group, last_group);
}

// Restores what lies outside the pixels in the planes of some output channels.
inline void restore_borders(const StripArgs& a, int lanes, int image, int first_plane, int last_plane, uint32_t word) {
  const PlanarLayout& layout = a.output_layout;
  for (int p = first_plane; p < last_plane; ++p) {
    uint32_t* plane = static_cast<uint32_t*>(a.output) + (static_cast<int64_t>(image) * a.output_planes + p) * layout.plane;
    if (a.output_single) {  // gaps between rows were stored with the rows
      for (int64_t i = 0; i < layout.origin; ++i) plane[i] = word;
      for (int64_t i = layout.origin + static_cast<int64_t>(a.vectors) * lanes; i < layout.plane; ++i) plane[i] = word;
    } else {
      fill_border(plane, layout, word);
    }
  }
}

template <class Path, int BlockOc, int MaxVectors>
void run_strip(const StripArgs& a, int image, int tile, int first_group, int last_group) {
  run_tile<Path, BlockOc>(a, image, tile, first_group, last_group, std::make_integer_sequence<int, MaxVectors>());
  if (tile != 0) return;
  constexpr int kChannels = kGroupBlocks * BlockOc;
  const int first = first_group * kChannels;
  const int last = last_group * kChannels < a.oc ? last_group * kChannels : a.oc;
  constexpr int kLanes = Path::Float::width;
  if (Path::kInt8 && !a.requantize.float_output) {
    restore_borders(a, kLanes, image, first / kChannelGroup, (last + kChannelGroup - 1) / kChannelGroup,
                    a.requantize.output_border);
  } else {
    restore_borders(a, kLanes, image, first, last, 0);
  }
}

}  // namespace
}  // namespace edgelane
