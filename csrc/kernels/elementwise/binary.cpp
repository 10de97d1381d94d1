// prepare_binary: brings numpy broadcasting down to the runs of rows.hpp.
#include <vector>

#include "kernels/access.hpp"
#include "kernels/border.hpp"
#include "kernels/check.hpp"
#include "kernels/elementwise/elementwise.hpp"
#include "kernels/elementwise/rows.hpp"
#include "kernels/function_kernel.hpp"
#include "kernels/rows.hpp"
#include "kernels/split.hpp"

namespace edgelane {
namespace {

// Axis of `t` that lies under axis `axis` of the output, or -1 where t has none or repeats along it.
int operand_axis(const TensorDesc& t, const TensorDesc& output, int axis) {
  const int own = axis - (output.rank - t.rank);
  return own < 0 || (t.dims[own] == 1 && output.dims[axis] != 1) ? -1 : own;
}

void check_binary(const BinaryProblem& p) {
  check(p.function <= BinaryFunction::pow, "binary", "function " + std::to_string(static_cast<int>(p.function)));
  const auto fits = [&](const TensorDesc& t) {
    if (t.dtype != p.output.dtype || t.rank > p.output.rank) return false;
    for (int a = 0; a < t.rank; ++a) {
      if (t.dims[a] != 1 && t.dims[a] != p.output.dims[p.output.rank - t.rank + a]) return false;
    }
    return true;
  };
  check(fits(p.a) && fits(p.b), "binary",
        shape_text(p.a) + " and " + shape_text(p.b) + " do not broadcast to " + shape_text(p.output));
  if (p.output.int8()) {
    check(p.function == BinaryFunction::add || p.function == BinaryFunction::mul, "binary", "only add and mul take int8");
  } else {
    check_dtype("binary", p.output, DType::float32);
  }
}

// ---------------------------------------------------------------------------------------------------------------------------
// float32. Every axis has one stride in the output and in each operand (0: repeated), and axes whose strides continue each other
// are one axis. What is left is an inner axis for the row functions and a box of outer axes around it.

struct Axis {
  int64_t size = 1, y = 0, a = 0, b = 0;  // strides in elements
};

class FloatBroadcast {
 public:
  FloatBroadcast(const BinaryProblem& p, const ElementwiseRows& rows) : problem_(p), rows_(rows) {
    const ElementOffsets y(p.output), a(p.a), b(p.b);
    bases_ = {1, y.base(), a.base(), b.base()};
    const int rank = p.output.rank;
    for (int axis = 0; axis < rank; ++axis) {
      const int in_a = operand_axis(p.a, p.output, axis), in_b = operand_axis(p.b, p.output, axis);
      axes_.push_back({p.output.dims[axis], y.at(axis, 1), in_a < 0 ? 0 : a.at(in_a, 1), in_b < 0 ? 0 : b.at(in_b, 1)});
    }
    if (p.output.planar()) {
      // A map is one strip where no operand has another pitch; rows of a 1 x 1 operand repeat along both axes.
      const auto strips = [&](int64_t row, int64_t column) {
        return (row == axes_[2].y && column == 1) || (row == 0 && column == 0) || (axes_[2].size == 1 && column == 1);
      };
      if (strips(axes_[2].a, axes_[3].a) && strips(axes_[2].b, axes_[3].b)) {
        axes_[3].size = axes_[2].size == 1 ? axes_[3].size : p.output.layout.strip_length();
        axes_.erase(axes_.begin() + 2);
      }
      return;
    }
    for (size_t i = 0; i + 1 < axes_.size();) {
      const Axis &outer = axes_[i], &inner = axes_[i + 1];
      const bool joins = inner.size == 1 || outer.size == 1 ||
                         (outer.y == inner.y * inner.size && outer.a == inner.a * inner.size && outer.b == inner.b * inner.size);
      if (!joins) {
        ++i;
        continue;
      }
      Axis joined = inner.size == 1 ? outer : inner;
      joined.size = outer.size * inner.size;
      axes_[i] = joined;
      axes_.erase(axes_.begin() + static_cast<int64_t>(i) + 1);
    }
    if (axes_.empty()) axes_.push_back({1, 1, 0, 0});
  }

  void operator()(const KernelArgs& args) const noexcept {
    const bool planar = problem_.output.planar();
    // The item of a task: a plane, or a row; a single row is cut into blocks.
    const size_t task_axes = planar ? 2 : axes_.size() - 1;
    int64_t items = 1, per_item = 1;
    for (size_t i = 0; i < axes_.size(); ++i) (i < task_axes ? items : per_item) *= axes_[i].size;
    if (items == 1 && !planar) {
      constexpr int64_t kBlock = 1024;
      const Axis& row = axes_.back();
      parallel_ranges(*args.pool, (row.size + kBlock - 1) / kBlock, kBlock, [&](int64_t begin, int64_t end) {
        begin *= kBlock;
        end = std::min(end * kBlock, row.size);
        run_row(args, bases_.y + begin * row.y, bases_.a + begin * row.a, bases_.b + begin * row.b, end - begin);
      });
      return;
    }
    parallel_ranges(*args.pool, items, per_item, [&](int64_t begin, int64_t end) {
      for (int64_t item = begin; item < end; ++item) {
        Axis at = bases_;
        int64_t rest = item;
        for (size_t i = task_axes; i-- > 0; rest /= axes_[i].size) advance(&at, axes_[i], rest % axes_[i].size);
        if (axes_.size() > task_axes + 1) {  // rows of a plane
          for (int64_t row = 0; row < axes_[task_axes].size; ++row, advance(&at, axes_[task_axes], 1)) {
            run_row(args, at.y, at.a, at.b, axes_.back().size);
          }
        } else {
          run_row(args, at.y, at.a, at.b, axes_.back().size);
        }
        if (planar)
          fill_border(static_cast<float*>(args.output) + item * problem_.output.layout.plane, problem_.output.layout, 0);
      }
    });
  }

 private:
  static void advance(Axis* at, const Axis& axis, int64_t steps) {
    at->y += steps * axis.y;
    at->a += steps * axis.a;
    at->b += steps * axis.b;
  }

  void run_row(const KernelArgs& args, int64_t y, int64_t a, int64_t b, int64_t n) const {
    const Axis& row = axes_.back();
    const float *pa = static_cast<const float*>(args.inputs[0]) + a, *pb = static_cast<const float*>(args.inputs[1]) + b;
    float* py = static_cast<float*>(args.output) + y;
    if (row.y == 1 && row.a <= 1 && row.b <= 1) {
      rows_.binary(problem_.function, {pa, row.a == 0}, {pb, row.b == 0}, py, n, problem_.activation);
      return;
    }
    for (int64_t i = 0; i < n; ++i) {  // an operand whose channels are planes runs along another axis here
      rows_.binary(problem_.function, {pa + i * row.a, true}, {pb + i * row.b, true}, py + i * row.y, 1, problem_.activation);
    }
  }

  BinaryProblem problem_;
  const ElementwiseRows& rows_;
  std::vector<Axis> axes_;
  Axis bases_;
};

// ---------------------------------------------------------------------------------------------------------------------------
// int8

// How an operand lies beside the output.
enum class Beside { same, per_channel, single, other };

Beside beside(const TensorDesc& t, const TensorDesc& output) {
  if (t.elements() == 1) return Beside::single;
  bool same = t.rank == output.rank;
  for (int a = 0; same && a < t.rank; ++a) same = t.dims[a] == output.dims[a];
  if (same) return Beside::same;
  const bool channels = t.planar() && output.planar() && t.dims[1] == output.dims[1] && t.dims[2] == 1 && t.dims[3] == 1;
  return channels ? Beside::per_channel : Beside::other;
}

void run_binary_s8(const BinaryProblem& p, const ElementwiseRows& rows, const KernelArgs& args) noexcept {
  struct Operand {
    const TensorDesc* tensor;
    const uint8_t* data;
    Beside beside;
    uint8_t single[4];
  } sides[2];
  for (int k = 0; k < 2; ++k) {
    Operand& side = sides[k];
    side = {k == 0 ? &p.a : &p.b, static_cast<const uint8_t*>(args.inputs[k]), {}, {}};
    side.beside = beside(*side.tensor, p.output);
    const int64_t first = ElementOffsets(*side.tensor).base();
    for (uint8_t& byte : side.single) byte = side.data[side.beside == Beside::single ? first : 0];
  }
  const QuantParams out = p.output.quant;
  uint8_t* y = static_cast<uint8_t*>(args.output);
  if (!p.output.planar()) {
    constexpr int64_t kBlock = 1024;
    const int64_t n = p.output.elements();
    parallel_ranges(*args.pool, (n + kBlock - 1) / kBlock, kBlock, [&](int64_t begin, int64_t end) {
      const auto operand = [&](const Operand& side) {
        const bool single = side.beside == Beside::single;
        const QuantParams q = side.tensor->quant;
        return QuadOperand{single ? side.single : side.data + begin * kBlock, single, q.scale, q.zero_point};
      };
      rows.binary_s8(p.function, operand(sides[0]), operand(sides[1]), out.scale, out.zero_point, y + begin * kBlock,
                     std::min(end * kBlock, n) - begin * kBlock, p.activation);
    });
    return;
  }
  const PlanarLayout& layout = p.output.layout;
  const int groups = layout.groups(true);
  parallel_ranges(*args.pool, static_cast<int64_t>(layout.batch) * groups, layout.plane, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      uint8_t* plane = y + i * layout.plane * 4;
      const int n = static_cast<int>(i / groups), group = static_cast<int>(i % groups);
      const bool strip = (sides[0].beside != Beside::same || p.a.layout.pitch == layout.pitch) &&
                         (sides[1].beside != Beside::same || p.b.layout.pitch == layout.pitch);
      for (int row = 0; row < (strip ? 1 : layout.height); ++row) {
        const auto operand = [&](const Operand& side) {
          const PlanarLayout& in = side.tensor->layout;
          const QuantParams q = side.tensor->quant;
          if (side.beside == Beside::single) return QuadOperand{side.single, true, q.scale, q.zero_point};
          const int batch = in.batch == 1 ? 0 : n, y = side.beside == Beside::same ? row : 0;
          const int64_t offset = (static_cast<int64_t>(batch) * groups + group) * in.plane + in.index(y, 0);
          return QuadOperand{side.data + offset * 4, side.beside == Beside::per_channel, q.scale, q.zero_point};
        };
        rows.binary_s8(p.function, operand(sides[0]), operand(sides[1]), out.scale, out.zero_point,
                       plane + layout.index(row, 0) * 4, 4 * (strip ? layout.strip_length() : layout.width), p.activation);
      }
      if (group == groups - 1) fill_channel_padding(plane, layout, border_word(p.output));
      fill_border(plane, layout, border_word(p.output));
    }
  });
}

// Any other broadcasting of int8, an element at a time.
void run_broadcast_s8(const BinaryProblem& p, const ElementwiseRows& rows, const KernelArgs& args) noexcept {
  const ElementOffsets out(p.output);
  const int rank = p.output.rank, last = p.output.dims[rank - 1];
  const struct Side {
    const TensorDesc& tensor;
    const ElementOffsets offsets;
    const uint8_t* data;
  } sides[2] = {{p.a, ElementOffsets(p.a), static_cast<const uint8_t*>(args.inputs[0])},
                {p.b, ElementOffsets(p.b), static_cast<const uint8_t*>(args.inputs[1])}};
  parallel_ranges(*args.pool, p.output.elements() / last, last, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      int index[kMaxRank] = {};
      int64_t rest = row;
      for (int a = rank - 2; a >= 0; --a, rest /= p.output.dims[a + 1]) index[a] = static_cast<int>(rest % p.output.dims[a]);
      for (; index[rank - 1] < last; ++index[rank - 1]) {
        QuadOperand operands[2];
        uint8_t quads[2][4];
        for (int k = 0; k < 2; ++k) {
          const TensorDesc& t = sides[k].tensor;
          int64_t offset = sides[k].offsets.base();
          for (int a = 0; a < rank; ++a) {
            const int own = operand_axis(t, p.output, a);
            if (own >= 0) offset += sides[k].offsets.at(own, index[a]);
          }
          for (uint8_t& byte : quads[k]) byte = sides[k].data[offset];
          operands[k] = {quads[k], true, t.quant.scale, t.quant.zero_point};
        }
        rows.binary_s8(p.function, operands[0], operands[1], p.output.quant.scale, p.output.quant.zero_point,
                       static_cast<uint8_t*>(args.output) + out(index, rank), 1, p.activation);
      }
    }
  });
  fill_borders(args.output, p.output);
}

}  // namespace

std::unique_ptr<PreparedKernel> prepare_binary(const BinaryProblem& problem, const KernelOptions& options) {
  check_binary(problem);
  // An operand of the output's shape is read an element at a time, where the result goes.
  const auto replaceable = [&](const TensorDesc& operand) {
    return beside(operand, problem.output) == Beside::same && same_memory(operand, problem.output);
  };
  const bool a = replaceable(problem.a), b = replaceable(problem.b);
  if (!problem.output.int8()) {
    const KernelEntry& entry = select_kernel("elementwise", "binary_f32", options);
    return make_kernel(entry, 0, FloatBroadcast(problem, *EDGELANE_FOR_ISA(entry.isa, elementwise_rows)), 0, {a, b});
  }
  if (beside(problem.a, problem.output) == Beside::other || beside(problem.b, problem.output) == Beside::other) {
    const KernelEntry& entry = select_kernel("elementwise", "broadcast_s8", options);
    return make_kernel(entry, 0,
                       [problem](const KernelArgs& args) { run_broadcast_s8(problem, scalar::elementwise_rows, args); });
  }
  const KernelEntry& entry = select_kernel("elementwise", "binary_s8", options);
  const auto run = [problem, rows = EDGELANE_FOR_ISA(entry.isa, elementwise_rows)](const KernelArgs& args) {
    run_binary_s8(problem, *rows, args);
  };
  return make_kernel(entry, 0, run, 0, {a, b});
}

}  // namespace edgelane
