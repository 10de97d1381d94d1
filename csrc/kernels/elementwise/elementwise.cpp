#include "kernels/elementwise/elementwise.hpp"

#include <limits>
#include <vector>

#include "kernels/access.hpp"
#include "kernels/border.hpp"
#include "kernels/check.hpp"
#include "kernels/elementwise/integers.hpp"
#include "kernels/elementwise/rows.hpp"
#include "kernels/function_kernel.hpp"
#include "kernels/rows.hpp"
#include "kernels/split.hpp"
#include "kernels/strided.hpp"

namespace edgelane {
namespace {

// f(x, y, n, channel, per_element) over every run of a float32 pair with channel axis 1; per_element: the run goes along the
// channels, from `channel` on.
template <class F>
void for_channels(const KernelArgs& args, const TensorDesc& input, const TensorDesc& output, const F& f) noexcept {
  const float* x = static_cast<const float*>(args.inputs[0]);
  float* y = static_cast<float*>(args.output);
  const int channels = output.dims[1];
  if (output.planar()) {
    parallel_ranges(
        *args.pool, static_cast<int64_t>(output.dims[0]) * channels, output.layout.plane, [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) {
            const float* from = x + i * input.layout.plane;
            float* to = y + i * output.layout.plane;
            for_rows(input.layout, output.layout,
                     [&](int64_t a, int64_t b, int64_t n) { f(from + a, to + b, n, static_cast<int>(i % channels), false); });
            fill_border(to, output.layout, 0);
          }
        });
    return;
  }
  int64_t inner = 1;
  for (int a = 2; a < output.rank; ++a) inner *= output.dims[a];
  if (inner == 1) {
    parallel_ranges(*args.pool, output.dims[0], channels, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) f(x + i * channels, y + i * channels, channels, 0, true);
    });
  } else {
    parallel_ranges(*args.pool, static_cast<int64_t>(output.dims[0]) * channels, inner, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) f(x + i * inner, y + i * inner, inner, static_cast<int>(i % channels), false);
    });
  }
}

void check_channels(const char* step, const TensorDesc& input, const TensorDesc& output, size_t values) {
  check_dtype(step, input, DType::float32);
  check_dtype(step, output, DType::float32);
  check_same_shape(step, input, output);
  check(output.rank >= 2 && values == static_cast<size_t>(output.dims[1]), step,
        std::to_string(values) + " values for the channels of " + shape_text(output));
}

// float32 to bool
bool tests(ActivationKind kind) { return kind == ActivationKind::is_nan || kind == ActivationKind::is_inf; }

bool takes(ActivationKind kind, DType dtype) {
  using A = ActivationKind;
  switch (dtype) {
    case DType::float32:
      return kind != A::logical_not;
    case DType::int8:
      return static_cast<int>(kind) < kFusedActivationKinds;
    case DType::int32:
    case DType::int64:
      return kind == A::none || kind == A::relu || kind == A::abs || kind == A::neg || kind == A::sign;
    case DType::boolean:
      return kind == A::logical_not;
    case DType::uint8:
      return false;
  }
  return false;
}

std::unique_ptr<PreparedKernel> prepare_test(const UnaryProblem& p, const KernelOptions& options) {
  const bool nan = p.activation.kind == ActivationKind::is_nan;
  const bool negative = p.activation.alpha != 0.0f, positive = p.activation.beta != 0.0f;
  const auto run = [nan, negative, positive, walk = StridedWalk<2>({&p.output, &p.input})](const KernelArgs& args) {
    const float* x = static_cast<const float*>(args.inputs[0]);
    auto* y = static_cast<uint8_t*>(args.output);
    const int64_t step = walk.strides()[1];
    walk(args, [&](const auto& at, int64_t n) {
      constexpr float kInfinity = std::numeric_limits<float>::infinity();
      for (int64_t i = 0; i < n; ++i) {
        const float v = x[at[1] + i * step];
        y[at[0] + i] = nan ? v != v : (negative && v == -kInfinity) || (positive && v == kInfinity);
      }
    });
  };
  return make_kernel(select_kernel("elementwise", "test_f32", options), 0, run);
}

}  // namespace

std::unique_ptr<PreparedKernel> prepare_unary(const UnaryProblem& problem, const KernelOptions& options) {
  const TensorDesc &input = problem.input, &output = problem.output;
  check_same_shape("unary", input, output);
  const ActivationKind kind = problem.activation.kind;
  check(takes(kind, input.dtype), "unary", std::string(activation_name(kind)) + " does not take " + shape_text(input));
  check_dtype("unary", output, input.dtype == DType::float32 && tests(kind) ? DType::boolean : input.dtype);
  if (tests(kind)) return prepare_test(problem, options);
  if (input.dtype != DType::float32 && !input.int8()) return prepare_unary_integers(problem, options);
  if (!input.int8()) {
    const KernelEntry& entry = select_kernel("elementwise", "unary_f32", options);
    const auto run = [problem, rows = EDGELANE_FOR_ISA(entry.isa, elementwise_rows)](const KernelArgs& args) {
      for_same_shape<float>(args, problem.input, problem.output,
                            [&](const float* x, float* y, int64_t n) { rows->unary(x, y, n, problem.activation); });
    };
    return make_kernel(entry, 0, run, 0, {same_memory(input, output)});
  }
  const std::vector<uint8_t> table =
      byte_table(input.quant, output.quant, [&](float real) { return activate(real, problem.activation); });
  const auto run = [problem, table](const KernelArgs& args) {
    for_same_shape<uint8_t>(args, problem.input, problem.output, [&](const uint8_t* x, uint8_t* y, int64_t n) {
      for (int64_t i = 0; i < n; ++i) y[i] = table[x[i]];
    });
  };
  return make_kernel(select_kernel("elementwise", "unary_s8", options), 0, run, 0, {same_memory(input, output)});
}

std::unique_ptr<PreparedKernel> prepare_affine(const AffineProblem& problem, Span<const float> scale, Span<const float> shift,
                                               const KernelOptions& options, Span<const float> slope) {
  check_channels("affine", problem.input, problem.output, scale.size());
  check_channels("affine", problem.input, problem.output, shift.size());
  check_slopes("affine", slope.size(), problem.activation, problem.output.dims[1]);
  const KernelEntry& entry = select_kernel("elementwise", "affine_f32", options);
  const std::vector<float> s(scale.begin(), scale.end()), t(shift.begin(), shift.end()), below(slope.begin(), slope.end());
  const auto run = [problem, s, t, below, rows = EDGELANE_FOR_ISA(entry.isa, elementwise_rows)](const KernelArgs& args) {
    for_channels(args, problem.input, problem.output, [&](const float* x, float* y, int64_t n, int channel, bool per_element) {
      rows->affine(x, &s[channel], &t[channel], below.empty() ? nullptr : &below[channel], per_element, y, n, problem.activation);
    });
  };
  return make_kernel(entry, 0, run, (s.size() + t.size() + below.size()) * sizeof(float),
                     {same_memory(problem.input, problem.output)});
}

std::unique_ptr<PreparedKernel> prepare_prelu(const TensorDesc& input, const TensorDesc& output, Span<const float> slope,
                                              const KernelOptions& options) {
  check_channels("prelu", input, output, slope.size());
  const KernelEntry& entry = select_kernel("elementwise", "prelu_f32", options);
  const std::vector<float> s(slope.begin(), slope.end());
  const auto run = [input, output, s, rows = EDGELANE_FOR_ISA(entry.isa, elementwise_rows)](const KernelArgs& args) {
    for_channels(args, input, output, [&](const float* x, float* y, int64_t n, int channel, bool per_element) {
      rows->prelu(x, &s[channel], per_element, y, n);
    });
  };
  return make_kernel(entry, 0, run, s.size() * sizeof(float), {same_memory(input, output)});
}

}  // namespace edgelane
