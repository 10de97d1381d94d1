// prepare_binary: brings numpy broadcasting down to the runs of rows.hpp.

#include "kernels/access.hpp"
#include "kernels/border.hpp"
#include "kernels/check.hpp"
#include "kernels/elementwise/elementwise.hpp"
#include "kernels/elementwise/integers.hpp"
#include "kernels/elementwise/rows.hpp"
#include "kernels/function_kernel.hpp"
#include "kernels/rows.hpp"
#include "kernels/split.hpp"
#include "kernels/strided.hpp"

namespace edgelane {
namespace {

bool compares(BinaryFunction function) {
  return function == BinaryFunction::equal || function == BinaryFunction::less || function == BinaryFunction::less_or_equal;
}

bool takes(BinaryFunction function, DType dtype) {
  using F = BinaryFunction;
  const bool logic = function == F::logical_and || function == F::logical_or || function == F::logical_xor;
  switch (dtype) {
    case DType::float32:
      return function <= F::fmod || compares(function) || function == F::prelu;
    case DType::int8:
      return function == F::add || function == F::mul;
    case DType::int32:
    case DType::int64:
      return function < F::prelu && !logic;
    case DType::boolean:
      return logic || function == F::equal;
    case DType::uint8:
      return false;
  }
  return false;
}

void check_binary(const BinaryProblem& p) {
  for (const TensorDesc* t : {&p.a, &p.b}) check_broadcast("binary", *t, p.output);
  check(p.a.dtype == p.b.dtype && takes(p.function, p.a.dtype), "binary",
        "function " + std::to_string(static_cast<int>(p.function)) + " does not take " + shape_text(p.a) + " and " +
            shape_text(p.b));
  check_dtype("binary", p.output, compares(p.function) ? DType::boolean : p.a.dtype);
  check(p.activation.kind == ActivationKind::none || p.output.dtype == DType::float32 || p.output.int8(), "binary",
        std::string("expected no activation of ") + shape_text(p.output) + ", found " + activation_name(p.activation.kind));
}

// ---------------------------------------------------------------------------------------------------------------------------
// float32

// Calls f(a, b, offset in the output, n) on the runs of a step with two float32 inputs, with operands as the row functions take
// them: what does not lie side by side, as a vector of channels that are planes, is copied.
template <class F>
void for_float_runs(const StridedWalk<3>& walk, const KernelArgs& args, const F& f) noexcept {
  const float *a = static_cast<const float*>(args.inputs[0]), *b = static_cast<const float*>(args.inputs[1]);
  const int64_t step_a = walk.strides()[1], step_b = walk.strides()[2];
  walk(args, [&](const auto& at, int64_t n) {
    if (step_a <= 1 && step_b <= 1)
      return f(FloatOperand{a + at[1], step_a == 0}, FloatOperand{b + at[2], step_b == 0}, at[0], n);
    constexpr int64_t kBlock = 256;
    float a_block[kBlock], b_block[kBlock];
    for (int64_t first = 0; first < n; first += kBlock) {
      const int64_t count = std::min(kBlock, n - first);
      f(FloatOperand{side_by_side(a + at[1] + first * step_a, step_a, count, a_block), false},
        FloatOperand{side_by_side(b + at[2] + first * step_b, step_b, count, b_block), false}, at[0] + first, count);
    }
  });
}

std::unique_ptr<PreparedKernel> prepare_float(const BinaryProblem& p, const KernelOptions& options) {
  const StridedWalk<3> walk({&p.output, &p.a, &p.b});
  if (compares(p.function)) {
    const KernelEntry& entry = select_kernel("elementwise", "compare_f32", options);
    const auto run = [walk, function = p.function, rows = EDGELANE_FOR_ISA(entry.isa, elementwise_rows)](const KernelArgs& args) {
      auto* y = static_cast<uint8_t*>(args.output);
      for_float_runs(walk, args,
                     [&](FloatOperand a, FloatOperand b, int64_t at, int64_t n) { rows->compare(function, a, b, y + at, n); });
    };
    return make_kernel(entry, 0, run);
  }
  const KernelEntry& entry = select_kernel("elementwise", "binary_f32", options);
  const auto run = [walk, p, rows = EDGELANE_FOR_ISA(entry.isa, elementwise_rows)](const KernelArgs& args) {
    auto* y = static_cast<float*>(args.output);
    for_float_runs(walk, args, [&](FloatOperand a, FloatOperand b, int64_t at, int64_t n) {
      rows->binary(p.function, a, b, y + at, n, p.activation);
    });
  };
  return make_kernel(entry, 0, run, 0, {replaceable(p.a, p.output), replaceable(p.b, p.output)});
}

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
  if (problem.a.dtype == DType::float32) return prepare_float(problem, options);
  if (!problem.a.int8()) return prepare_binary_integers(problem, options);
  if (beside(problem.a, problem.output) == Beside::other || beside(problem.b, problem.output) == Beside::other) {
    const KernelEntry& entry = select_kernel("elementwise", "broadcast_s8", options);
    return make_kernel(entry, 0,
                       [problem](const KernelArgs& args) { run_broadcast_s8(problem, scalar::elementwise_rows, args); });
  }
  const KernelEntry& entry = select_kernel("elementwise", "binary_s8", options);
  const auto run = [problem, rows = EDGELANE_FOR_ISA(entry.isa, elementwise_rows)](const KernelArgs& args) {
    run_binary_s8(problem, *rows, args);
  };
  return make_kernel(entry, 0, run, 0, {replaceable(problem.a, problem.output), replaceable(problem.b, problem.output)});
}

}  // namespace edgelane
