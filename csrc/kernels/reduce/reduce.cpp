#include "kernels/reduce/reduce.hpp"

#include <cstring>

#include "kernels/check.hpp"
#include "kernels/function_kernel.hpp"
#include "kernels/reduce/folds.hpp"
#include "kernels/reduce/rows.hpp"
#include "kernels/reduce/shape.hpp"
#include "kernels/reduce/walk.hpp"

namespace edgelane {
namespace {

// Runs that are reduced element by element with others are cut, so that threads share them and what is written stays in the
// cache.
constexpr int64_t kColumns = 2048;

// Sum, mean, max and min of float32.
class FloatReduce {
 public:
  FloatReduce(const TensorDesc& input, const TensorDesc& output, Span<const int> axes, Reduction reduction,
              const ReduceRows& rows)
      : output_(output),
        shape_(input, output, axes, reduction == Reduction::sum || reduction == Reduction::mean),
        rows_(rows),
        reduction_(reduction),
        divisor_(static_cast<float>(shape_.count())) {}

  void operator()(const KernelArgs& args) const noexcept {
    reduce_all<float, float>(
        args, shape_, output_, kColumns, [&](const float* x) { return reduce_runs(x); },
        [&](const float* x, float* y, int64_t n) { reduce_columns(x, y, n); });
  }

 private:
  float reduce_runs(const float* x) const {
    const bool extreme = reduction_ == Reduction::max || reduction_ == Reduction::min, max = reduction_ == Reduction::max;
    const auto reduce = !extreme ? rows_.sum : max ? rows_.max : rows_.min;
    float total = extreme ? x[0] : 0.0f;
    for (int64_t k = 0; k < shape_.sums(); ++k) {
      const float run = reduce(x + shape_.run(k), shape_.row());
      if (!extreme) {
        total += run;
      } else if (run != run || (max ? run > total : run < total)) {
        total = run;
      }
    }
    return reduction_ == Reduction::mean ? total / divisor_ : total;
  }

  void reduce_columns(const float* x, float* y, int64_t n) const {
    const auto reduce = reduction_ == Reduction::max ? rows_.max_into : reduction_ == Reduction::min ? rows_.min_into : rows_.add;
    std::memcpy(y, x, static_cast<size_t>(n) * sizeof(float));
    for (int64_t k = 1; k < shape_.sums(); ++k) reduce(x + shape_.run(k), y, n);
    if (reduction_ == Reduction::mean) rows_.divide(y, n, divisor_);
  }

  TensorDesc output_;
  ReduceShape shape_;
  const ReduceRows& rows_;
  Reduction reduction_;
  float divisor_;
};

// Everything else.
template <class T, Reduction R>
class FoldReduce {
  using F = Fold<T, R>;
  using Acc = typename F::Acc;

 public:
  FoldReduce(const TensorDesc& input, const TensorDesc& output, Span<const int> axes)
      : output_(output), shape_(input, output, axes, false) {}

  void operator()(const KernelArgs& args) const noexcept {
    reduce_all<T, T>(
        args, shape_, output_, kBlock, [&](const T* x) { return reduce_runs(x); },
        [&](const T* x, T* y, int64_t n) { reduce_columns(x, y, n); });
  }

 private:
  static constexpr int64_t kBlock = 256;  // accumulators on the stack
  static constexpr int kLanes = 8;        // sums side by side, the same ones on every instruction set

  T reduce_runs(const T* x) const {
    Acc lanes[kLanes];
    for (Acc& acc : lanes) acc = F::start();
    const int64_t n = shape_.row();
    for (int64_t k = 0; k < shape_.sums(); ++k) {
      const T* run = x + shape_.run(k);
      int64_t i = 0;
      for (; i + kLanes <= n; i += kLanes) {
        for (int lane = 0; lane < kLanes; ++lane) F::add(lanes[lane], run[i + lane]);
      }
      for (; i < n; ++i) F::add(lanes[i % kLanes], run[i]);
    }
    for (int lane = 1; lane < kLanes; ++lane) F::merge(lanes[0], lanes[lane]);
    return F::finish(lanes[0], shape_.count());
  }

  void reduce_columns(const T* x, T* y, int64_t n) const {
    Acc acc[kBlock];
    for (int64_t i = 0; i < n; ++i) acc[i] = F::start();
    for (int64_t k = 0; k < shape_.sums(); ++k) {
      const T* run = x + shape_.run(k);
      for (int64_t i = 0; i < n; ++i) F::add(acc[i], run[i]);
    }
    for (int64_t i = 0; i < n; ++i) y[i] = F::finish(acc[i], shape_.count());
  }

  TensorDesc output_;
  ReduceShape shape_;
};

template <class T>
std::unique_ptr<PreparedKernel> make_fold(const KernelEntry& entry, const TensorDesc& input, const TensorDesc& output,
                                          Span<const int> axes, Reduction reduction) {
  const auto make = [&](auto r) { return make_kernel(entry, 0, FoldReduce<T, decltype(r)::value>(input, output, axes)); };
  switch (reduction) {
    case Reduction::product:
      return make(std::integral_constant<Reduction, Reduction::product>{});
    case Reduction::l1:
      return make(std::integral_constant<Reduction, Reduction::l1>{});
    case Reduction::l2:
      return make(std::integral_constant<Reduction, Reduction::l2>{});
    case Reduction::log_sum:
      return make(std::integral_constant<Reduction, Reduction::log_sum>{});
    case Reduction::log_sum_exp:
      return make(std::integral_constant<Reduction, Reduction::log_sum_exp>{});
    case Reduction::sum_square:
      return make(std::integral_constant<Reduction, Reduction::sum_square>{});
    default:
      break;
  }
  if constexpr (!std::is_floating_point_v<T>) {
    switch (reduction) {
      case Reduction::mean:
        return make(std::integral_constant<Reduction, Reduction::mean>{});
      case Reduction::max:
        return make(std::integral_constant<Reduction, Reduction::max>{});
      case Reduction::min:
        return make(std::integral_constant<Reduction, Reduction::min>{});
      default:
        return make(std::integral_constant<Reduction, Reduction::sum>{});
    }
  }
  throw Error(StatusCode::invalid_argument, std::string(entry.name) + ": not a reduction of its own");
}

}  // namespace

std::unique_ptr<PreparedKernel> prepare_reduce(const TensorDesc& input, const TensorDesc& output, Span<const int> axes,
                                               Reduction reduction, const KernelOptions& options) {
  constexpr const char* kStep = "reduce";
  check(input.dtype == output.dtype, kStep, "dtypes differ: " + shape_text(input) + " and " + shape_text(output));
  check(input.rank == output.rank && input.rank >= 1, kStep, "ranks differ: " + shape_text(input) + " and " + shape_text(output));
  bool reduced[kMaxRank] = {};
  for (int a : axes) {
    check(a >= 0 && a < input.rank, kStep, "axis " + std::to_string(a) + " of " + shape_text(input));
    reduced[a] = true;
  }
  for (int a = 0; a < input.rank; ++a) {
    check(output.dims[a] == (reduced[a] ? 1 : input.dims[a]), kStep,
          shape_text(input) + " does not reduce to " + shape_text(output));
  }
  switch (input.dtype) {
    case DType::float32:
      break;
    case DType::int32:
      return make_fold<int32_t>(select_kernel("reduce", "reduce_s32", options), input, output, axes, reduction);
    case DType::int64:
      return make_fold<int64_t>(select_kernel("reduce", "reduce_s64", options), input, output, axes, reduction);
    default:
      check(false, kStep, "expected float32, int32 or int64, found " + shape_text(input));
  }
  if (reduction != Reduction::mean && reduction != Reduction::sum && reduction != Reduction::max && reduction != Reduction::min) {
    return make_fold<float>(select_kernel("reduce", "reduce_double_f32", options), input, output, axes, reduction);
  }
  const KernelEntry& entry = select_kernel("reduce", "reduce_f32", options);
  return make_kernel(entry, 0, FloatReduce(input, output, axes, reduction, *EDGELANE_FOR_ISA(entry.isa, reduce_rows)));
}

}  // namespace edgelane
