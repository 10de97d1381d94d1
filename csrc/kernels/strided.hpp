// Element-wise steps over tensors of any layouts and shapes that broadcast, as numpy does: brought down to runs of elements that
// have one stride in each tensor. Not for files with instruction-set flags.
#pragma once

#include <array>
#include <cstdint>

#include "kernels/border.hpp"
#include "kernels/check.hpp"
#include "kernels/kernel.hpp"
#include "kernels/offsets.hpp"
#include "kernels/split.hpp"

namespace edgelane {

// Axis of `t` that lies under axis `axis` of the output, or -1 where t has none or repeats along it.
inline int operand_axis(const TensorDesc& t, const TensorDesc& output, int axis) {
  const int own = axis - (output.rank - t.rank);
  return own < 0 || (t.dims[own] == 1 && output.dims[axis] != 1) ? -1 : own;
}

// Of a step with an output and N - 1 inputs. Axes whose strides continue each other in every tensor are one axis; the last one is
// the run, and a box of the others lies around it. Maps of float32 outputs are one run with the gaps between their rows, where no
// tensor has another pitch.
template <int N>
class StridedWalk {
 public:
  using Offsets = std::array<int64_t, N>;  // in elements; the output's first

  // Shapes that broadcast to that of the first one, the output.
  explicit StridedWalk(const std::array<const TensorDesc*, N>& tensors) : output_(*tensors[0]) {
    for (int axis = 0; axis < output_.rank; ++axis) {
      Axis& a = axes_[static_cast<size_t>(count_++)];
      a.size = output_.dims[axis];
      for (size_t k = 0; k < N; ++k) {
        const TensorDesc& t = *tensors[k];
        const int own = operand_axis(t, output_, axis);
        if (own < 0) continue;
        a.quads[k] = t.planar() && t.int8() && own == 1 && a.size > kChannelGroup;
        a.stride[k] = ElementOffsets(t).at(own, a.quads[k] ? kChannelGroup : 1);
      }
    }
    for (size_t k = 0; k < N; ++k) base_[k] = ElementOffsets(*tensors[k]).base();
    if (float_planes()) {
      join_rows();
    } else {
      join_axes();
    }
  }

  // Strides of a run, in elements.
  const Offsets& strides() const { return axes_[static_cast<size_t>(count_ - 1)].stride; }

  // Calls f(offsets, n) for every run of n elements, in parallel, and restores the output's borders.
  template <class F>
  void operator()(const KernelArgs& args, const F& f) const noexcept {
    const size_t runs = static_cast<size_t>(count_ - 1), task_axes = float_planes() ? 2 : runs;
    int64_t items = 1, per_item = 1;
    for (size_t i = 0; i <= runs; ++i) (i < task_axes ? items : per_item) *= axes_[i].size;
    const Axis& run = axes_[runs];
    if (items == 1 && !float_planes()) {
      constexpr int64_t kBlock = 1024;
      parallel_ranges(*args.pool, (run.size + kBlock - 1) / kBlock, kBlock, [&](int64_t begin, int64_t end) {
        Offsets at = base_;
        run.advance(&at, begin * kBlock);
        f(at, std::min(end * kBlock, run.size) - begin * kBlock);
      });
    } else {
      parallel_ranges(*args.pool, items, per_item, [&](int64_t begin, int64_t end) {
        int64_t index[kMaxRank + 1] = {};
        int64_t rest = begin;
        for (size_t i = task_axes; i-- > 0; rest /= axes_[i].size) index[i] = rest % axes_[i].size;
        for (int64_t item = begin; item < end; ++item) {
          Offsets at = base_;
          for (size_t i = 0; i < task_axes; ++i) axes_[i].advance(&at, index[i]);
          for (int64_t row = 0; row < (runs > task_axes ? axes_[task_axes].size : 1); ++row) {
            f(at, run.size);
            if (runs > task_axes) axes_[task_axes].advance(&at, 1);
          }
          if (float_planes()) fill_border(static_cast<float*>(args.output) + item * output_.layout.plane, output_.layout, 0);
          for (size_t i = task_axes; i-- > 0; index[i] = 0) {
            if (++index[i] < axes_[i].size) break;
          }
        }
      });
    }
    if (!float_planes()) fill_borders(args.output, output_);
  }

 private:
  struct Axis {
    int64_t size = 1;
    Offsets stride = {};             // 0: repeated; of quads: from one group of four channels to the next
    std::array<bool, N> quads = {};  // channels of int8 planes, more than one group of them
    void advance(Offsets* at, int64_t steps) const {
      for (size_t k = 0; k < N; ++k)
        (*at)[k] += quads[k] ? steps / kChannelGroup * stride[k] + steps % kChannelGroup : steps * stride[k];
    }
  };

  bool float_planes() const { return !output_.straight() && !output_.int8(); }

  // Rows and columns of a map to one axis; rows of an operand of one pixel repeat along both.
  void join_rows() {
    const Axis &rows = axes_[2], &columns = axes_[3];
    for (size_t k = 0; k < N; ++k) {
      const bool strip = (rows.stride[k] == rows.stride[0] && columns.stride[k] == 1) ||
                         (rows.stride[k] == 0 && columns.stride[k] == 0) || (rows.size == 1 && columns.stride[k] == 1);
      if (!strip) return;
    }
    axes_[2] = {rows.size == 1 ? columns.size : output_.layout.strip_length(), columns.stride, {}};
    count_ = 3;
  }

  void join_axes() {
    const auto none = [](const std::array<bool, N>& flags) { return flags == std::array<bool, N>{}; };
    size_t kept = 0;
    for (size_t i = 0; i < static_cast<size_t>(count_); ++i) {
      const Axis axis = axes_[i];
      if (axis.size == 1) continue;
      if (kept > 0) {
        Axis& outer = axes_[kept - 1];
        bool joins = none(outer.quads) && none(axis.quads);
        for (size_t k = 0; k < N; ++k) joins = joins && outer.stride[k] == axis.stride[k] * axis.size;
        if (joins) {
          outer = {outer.size * axis.size, axis.stride, {}};
          continue;
        }
      }
      axes_[kept++] = axis;
    }
    // A run has one stride.
    if (kept == 0 || !none(axes_[kept - 1].quads)) axes_[kept++] = {};
    count_ = static_cast<int>(kept);
  }

  TensorDesc output_;
  std::array<Axis, kMaxRank + 1> axes_;
  int count_ = 0;
  Offsets base_;
};

// Whether the output may take the place of an operand: of its shape and layout, which is read an element at a time, where the
// result goes.
inline bool replaceable(const TensorDesc& operand, const TensorDesc& output) {
  bool same = operand.rank == output.rank;
  for (int a = 0; same && a < operand.rank; ++a) same = operand.dims[a] == output.dims[a];
  return same && same_memory(operand, output);
}

inline void check_broadcast(const char* step, const TensorDesc& operand, const TensorDesc& output) {
  bool fits = operand.rank <= output.rank;
  for (int a = 0; fits && a < operand.rank; ++a)
    fits = operand.dims[a] == 1 || operand.dims[a] == output.dims[output.rank - operand.rank + a];
  check(fits, step, shape_text(operand) + " does not broadcast to " + shape_text(output));
}

// n elements that lie `stride` apart, side by side: where they are, or copied to `block`.
template <class T>
const T* side_by_side(const T* p, int64_t stride, int64_t n, T* block) {
  if (stride == 1 || n == 1) return p;
  for (int64_t i = 0; i < n; ++i) block[i] = p[i * stride];
  return block;
}

}  // namespace edgelane
