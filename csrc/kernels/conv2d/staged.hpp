// Staged strip convolution of float32, for nonzeros of single output channels, each of which costs a load for every multiply-add.
//
// Where the strip kernel (strip.hpp) reads a tap that is shifted, every load crosses a line and takes twice as long. Here a chunk
// of rows, of which each is what a source plane gives to the tile at one tap, is first copied to line boundaries in the
// first-level cache, and then used by all output channels of the task. Sums rest in the workspace between chunks. Channels go in
// pairs whose lists have nearly one length: twice the sums in flight, half the loop ends. The same for int8, where a load brings
// four input channels, took as long as the strip kernel, or up to a fifth longer.
//
// Included by conv2d_f32_<isa>.cpp only; everything is in an anonymous namespace or depends on a type that is.
#pragma once

#include <cstdint>
#include <utility>

#include "kernels/conv2d/strip.hpp"

namespace edgelane {
namespace {

// Where the sums of a chunk go: to the workspace, to the epilogue by way of a buffer, or from registers to the output.
enum class StagedEnd { sums, epilogue, output, output_with_residual };

template <class V, int Vectors>
struct StagedTile {
  using Epilogue = StripEpilogue<F32Path<V>>;
  static constexpr int kLanes = V::width;
  static constexpr int kRow = Vectors * kLanes;  // sums of an output channel
  static constexpr int kGroup = group_blocks(1);

  static void run(const StripArgs& a, int image, int tile, int first_group, int last_group) {
    const int first_vector = a.tiles[tile];
    const float* const x =
        reinterpret_cast<const float*>(a.source) + image * a.source_batch + static_cast<int64_t>(first_vector) * kLanes;
    const Epilogue epilogue{a, image, first_vector};
    alignas(64) float rows[kStagedBytes / sizeof(float)];
    // What the shorter list of a pair goes on with, behind the rows of the first chunk, which is the largest.
    store(Sums(V::zero()), rows + static_cast<int64_t>(a.chunk_rows[1]) * a.row_elements);
    for (int chunk = 0; chunk < a.chunks; ++chunk) {
      stage(a, x, chunk, rows);
      if (chunk + 1 < a.chunks)
        add<StagedEnd::sums>(a, rows, chunk, first_group, last_group, epilogue);
      else if (!a.direct || !a.activation.clamp || a.slope != nullptr)
        add<StagedEnd::epilogue>(a, rows, chunk, first_group, last_group, epilogue);
      else if (a.residual == nullptr)
        add<StagedEnd::output>(a, rows, chunk, first_group, last_group, epilogue);
      else
        add<StagedEnd::output_with_residual>(a, rows, chunk, first_group, last_group, epilogue);
    }
  }

 private:
  // Those of one output channel.
  struct Sums {
    V v[Vectors];
    EDGELANE_INLINE explicit Sums(V all) {
#pragma GCC unroll 16
      for (int i = 0; i < Vectors; ++i) v[i] = all;
    }
    EDGELANE_INLINE explicit Sums(const float* from) {
#pragma GCC unroll 16
      for (int i = 0; i < Vectors; ++i) v[i] = V::loadu(from + i * kLanes);
    }
    EDGELANE_INLINE void add(const float* row, float weight) {
      EDGELANE_KEEP_POINTER(row);
      const V w = V::broadcast(weight);
#pragma GCC unroll 16
      for (int i = 0; i < Vectors; ++i) v[i] = muladd(V::loadu(row + i * kLanes), w, v[i]);
    }
  };

  static EDGELANE_INLINE void store(const Sums& sums, float* to) {
#pragma GCC unroll 16
    for (int i = 0; i < Vectors; ++i) sums.v[i].storeu(to + i * kLanes);
  }

  static EDGELANE_INLINE void stage(const StripArgs& a, const float* x, int chunk, float* to) {
    for (int r = a.chunk_rows[chunk]; r < a.chunk_rows[chunk + 1]; ++r, to += a.row_elements) store(Sums(x + a.rows[r]), to);
  }

  // Adds a chunk's products, for the output channels of some groups.
  template <StagedEnd End>
  static EDGELANE_INLINE void add(const StripArgs& a, const float* rows, int chunk, int first_group, int last_group,
                                  const Epilogue& epilogue) {
    alignas(64) float ends[End == StagedEnd::epilogue ? kGroup * kRow : 1];
    const float* const weights = reinterpret_cast<const float*>(a.weights);
    int64_t list = static_cast<int64_t>(chunk) * ((a.oc + 1) / 2) + first_group * (kGroup / 2);
    for (int group = first_group; group < last_group; ++group) {
      const int first = group * kGroup;
      const int channels = a.oc - first < kGroup ? a.oc - first : kGroup;
      float* const resting = a.sums + static_cast<int64_t>(first) * kRow;
      for (const int64_t end = list + (channels + 1) / 2; list < end; ++list) {
        const int i = a.order[2 * list], j = a.order[2 * list + 1];
        Sums sums_i = chunk == 0 ? Sums(epilogue.start(first + i)) : Sums(resting + i * kRow);
        Sums sums_j = chunk == 0 ? Sums(epilogue.start(first + j)) : Sums(resting + j * kRow);
        const int32_t* offset = a.offsets + a.starts[list];
        const int32_t* const last = a.offsets + a.starts[list + 1];
        for (const float* w = weights + a.starts[list]; offset != last; offset += 2, w += 2) {
          sums_i.add(rows + offset[0], w[0]);
          sums_j.add(rows + offset[1], w[1]);
        }
        if constexpr (End == StagedEnd::sums || End == StagedEnd::epilogue) {
          float* const to = End == StagedEnd::sums ? resting : ends;
          store(sums_i, to + i * kRow);
          store(sums_j, to + j * kRow);
        } else {
          constexpr Residual kResidual = End == StagedEnd::output ? Residual::none : Residual::added;
          if (i < channels) epilogue.template finish_channel<kResidual>(sums_i.v, first + i);
          if (j < channels) epilogue.template finish_channel<kResidual>(sums_j.v, first + j);
        }
      }
      if constexpr (End == StagedEnd::epilogue)
        epilogue.template finish<Vectors>(reinterpret_cast<int32_t*>(ends), channels, first);
    }
  }
};

template <class V, int... Count>
EDGELANE_INLINE void run_staged_tile(const StripArgs& a, int image, int tile, int first_group, int last_group,
                                     std::integer_sequence<int, Count...>) {
  static constexpr StripFunction kBySize[] = {&StagedTile<V, Count + 1>::run...};
  kBySize[a.tiles[tile + 1] - a.tiles[tile] - 1](a, image, tile, first_group, last_group);
}

template <class Path, int BlockOc, int MaxVectors>
void run_staged(const StripArgs& a, int image, int tile, int first_group, int last_group) {
  static_assert(!Path::kInt8 && BlockOc == 1);
  run_staged_tile<typename Path::Float>(a, image, tile, first_group, last_group, std::make_integer_sequence<int, MaxVectors>());
  restore_borders<Path, BlockOc>(a, image, tile, first_group, last_group);
}

}  // namespace
}  // namespace edgelane
