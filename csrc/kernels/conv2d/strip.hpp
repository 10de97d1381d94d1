// Strip convolution: y[oc][s] = sum over nonzero blocks of weight * x[offset + s], for positions s of a plane (geometry.hpp).
//
// Pixels lie in the lanes, weights are broadcast. A tile is BlockOc output channels by Vectors vectors of positions, kept in
// registers: a block costs Vectors loads, BlockOc broadcasts and BlockOc * Vectors multiply-adds. Weights are a stream of
// {offset, BlockOc weights}; dense is the stream with every block present.
//
// Input channels are cut into chunks whose part of a tile stays in the first-level cache while a group of blocks of output
// channels uses it. The sums of a group rest in a buffer on the stack between chunks, and go from there to the epilogue: where
// both were one function, the compiler kept the sums in memory during the multiply-adds as well.
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
  static constexpr int kSplit = kSums >= kSumsInFlight ? 1 : kSums >= kSumsInFlight / 2 ? 2 : 4;
  static constexpr int kGroup = group_blocks(BlockOc);

  // The sums of a group of blocks: lanes of Acc, by output channel.
  struct Sums {
    alignas(64) int32_t row[kGroup * BlockOc][Vectors][kLanes];
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

  // Asks for weights that will be needed soon. In a network they come from beyond the second-level cache, and the hardware stops
  // following a stream at the end of each page: without this, and the like in Winograd kernels, a dense ResNet-50 takes 6 to 10 %
  // longer. Lists of single channels read too few bytes for each vector to gain.
  static EDGELANE_INLINE void prefetch_weights(const uint8_t* w) {
    constexpr int kAhead = 2048;
    if constexpr (BlockOc > 1) __builtin_prefetch(w + kAhead);
  }

  static EDGELANE_INLINE void clear(Acc (&acc)[BlockOc][Vectors]) {
#pragma GCC unroll 16
    for (int o = 0; o < BlockOc; ++o)
#pragma GCC unroll 16
      for (int v = 0; v < Vectors; ++v) acc[o][v] = Acc::zero();
  }

  static EDGELANE_INLINE void start(Acc (&acc)[BlockOc][Vectors], const StripEpilogue<Path>& epilogue, int oc) {
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
        prefetch_weights(w);
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
    for (; offset != last; ++offset, w += kBlockBytes) {
      prefetch_weights(w);
      block(acc, x + static_cast<int64_t>(*offset) * 4, w);
    }
  }

  static void run(const StripArgs& a, int image, int tile, int first_group, int last_group) {
    const int first_vector = a.tiles[tile];
    const uint8_t* x = a.source + (image * a.source_batch + static_cast<int64_t>(first_vector) * kLanes) * 4;
    const StripEpilogue<Path> epilogue{a, image, first_vector};
    for (int group = first_group; group < last_group; ++group) {
      const int first = group * kGroup;
      const int blocks = a.oc_blocks - first < kGroup ? a.oc_blocks - first : kGroup;
      Sums sums;
      add_chunks(a, x, static_cast<int64_t>(first) * a.chunks, first, blocks, sums, epilogue);
      epilogue.template finish<Vectors>(&sums.row[0][0][0], blocks * BlockOc, first * BlockOc);
    }
  }

  // `list` is the index in starts of the group's first block list.
  static EDGELANE_INLINE void add_chunks(const StripArgs& a, const uint8_t* x, int64_t list, int first, int blocks, Sums& sums,
                                         const StripEpilogue<Path>& epilogue) {
    for (int chunk = 0; chunk < a.chunks; ++chunk)
      for (const int64_t end = list + blocks; list < end; ++list) {
        const int32_t begin = a.starts[list], last = a.starts[list + 1];
        const int b = a.order[list];
        if (a.prefetch && chunk == a.chunks - 1) epilogue.template prefetch<BlockOc, Vectors>((first + b) * BlockOc);
        Acc acc[BlockOc][Vectors];
        if (chunk == 0) {
          start(acc, epilogue, (first + b) * BlockOc);
        } else {
#pragma GCC unroll 16
          for (int o = 0; o < BlockOc; ++o)
#pragma GCC unroll 16
            for (int v = 0; v < Vectors; ++v) acc[o][v] = Path::load_sum(sums.row[b * BlockOc + o][v]);
        }
        accumulate(acc, a, x, begin, last);
#pragma GCC unroll 16
        for (int o = 0; o < BlockOc; ++o)
#pragma GCC unroll 16
          for (int v = 0; v < Vectors; ++v) Path::store_sum(sums.row[b * BlockOc + o][v], acc[o][v]);
      }
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

// The same for the planes of a task's output channels, once for all tiles.
template <class Path, int BlockOc>
void restore_borders(const StripArgs& a, int image, int tile, int first_group, int last_group) {
  if (tile != 0) return;
  constexpr int kChannels = group_blocks(BlockOc) * BlockOc;
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

template <class Path, int BlockOc, int MaxVectors>
void run_strip(const StripArgs& a, int image, int tile, int first_group, int last_group) {
  run_tile<Path, BlockOc>(a, image, tile, first_group, last_group, std::make_integer_sequence<int, MaxVectors>());
  restore_borders<Path, BlockOc>(a, image, tile, first_group, last_group);
}

template <class I>
void copy_every_second(const uint32_t* from, uint32_t* to, int count) {
  constexpr int kLanes = I::width;
  int i = 0;
  for (; i + kLanes < count; i += kLanes, from += 2 * kLanes)  // one more follows, so that all of both vectors may be read
    even_lanes(I::loadu(from), I::loadu(from + kLanes)).storeu(to + i);
  const int left = count - i, elements = 2 * left - 1;
  even_lanes(I::load_first(from, elements < kLanes ? elements : kLanes),
             I::load_first(from + kLanes, elements < kLanes ? 0 : elements - kLanes))
      .store_first(to + i, left);
}

}  // namespace
}  // namespace edgelane
