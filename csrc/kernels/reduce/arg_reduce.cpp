#include <algorithm>

#include "kernels/check.hpp"
#include "kernels/function_kernel.hpp"
#include "kernels/reduce/reduce.hpp"
#include "kernels/reduce/rows.hpp"
#include "kernels/reduce/shape.hpp"
#include "kernels/reduce/walk.hpp"

namespace edgelane {
namespace {

// Loops over float32 are compiled for each instruction set.
class FloatChoice {
 public:
  using Value = float;
  FloatChoice(const ReduceRows& rows, bool largest, bool last) : rows_(rows), largest_(largest), last_(last) {}

  int64_t of_row(const float* x, int64_t n) const {
    if (x[0] != x[0]) return 0;
    const float best = largest_ ? rows_.largest(x, n) : rows_.smallest(x, n);
    int64_t i = last_ ? n - 1 : 0;
    while (x[i] != best) i += last_ ? -1 : 1;
    return i;
  }
  void choose(const float* x, int64_t n, int32_t index, float* best, int32_t* at) const {
    rows_.choose[largest_ ? 1 : 0][last_ ? 1 : 0](x, n, index, best, at);
  }

 private:
  const ReduceRows& rows_;
  bool largest_, last_;
};

template <class T>
class IntegerChoice {
 public:
  using Value = T;
  IntegerChoice(bool largest, bool last) : largest_(largest), last_(last) {}

  int64_t of_row(const T* x, int64_t n) const {
    int64_t found = 0;
    for (int64_t i = 1; i < n; ++i) {
      if (better(x[i], x[found])) found = i;
    }
    return found;
  }
  void choose(const T* x, int64_t n, int32_t index, T* best, int32_t* at) const {
    for (int64_t i = 0; i < n; ++i) {
      const bool chosen = better(x[i], best[i]);
      best[i] = chosen ? x[i] : best[i];
      at[i] = chosen ? index : at[i];
    }
  }

 private:
  bool better(T x, T best) const { return largest_ ? (last_ ? x >= best : x > best) : last_ ? x <= best : x < best; }
  bool largest_, last_;
};

template <class Choice>
class ArgReduce {
  using T = typename Choice::Value;

 public:
  ArgReduce(const TensorDesc& input, const TensorDesc& output, int axis, Choice choice)
      : output_(output), shape_(input, output, {&axis, 1}, false), choice_(choice) {}

  void operator()(const KernelArgs& args) const noexcept {
    reduce_all<T, int64_t>(
        args, shape_, output_, kBlock, [&](const T* x) { return choice_.of_row(x, shape_.row()); },
        [&](const T* x, int64_t* y, int64_t n) { choose_columns(x, y, n); });
  }

 private:
  static constexpr int64_t kBlock = 512;

  void choose_columns(const T* x, int64_t* y, int64_t n) const {
    T best[kBlock];
    int32_t at[kBlock] = {};
    std::copy(x, x + n, best);
    for (int64_t k = 1; k < shape_.sums(); ++k) choice_.choose(x + shape_.run(k), n, static_cast<int32_t>(k), best, at);
    std::copy(at, at + n, y);
  }

  TensorDesc output_;
  ReduceShape shape_;
  Choice choice_;
};

}  // namespace

std::unique_ptr<PreparedKernel> prepare_arg_reduce(const TensorDesc& input, const TensorDesc& output, int axis, bool largest,
                                                   bool select_last, const KernelOptions& options) {
  constexpr const char* kStep = "arg_reduce";
  check_dtype(kStep, output, DType::int64);
  check(axis >= 0 && axis < input.rank && output.rank == input.rank, kStep,
        "axis " + std::to_string(axis) + " of " + shape_text(input));
  for (int a = 0; a < input.rank; ++a) {
    check(output.dims[a] == (a == axis ? 1 : input.dims[a]), kStep,
          shape_text(input) + " does not reduce to " + shape_text(output));
  }
  switch (input.dtype) {
    case DType::float32: {
      const KernelEntry& entry = select_kernel("reduce", "arg_reduce_f32", options);
      const FloatChoice choice(*EDGELANE_FOR_ISA(entry.isa, reduce_rows), largest, select_last);
      return make_kernel(entry, 0, ArgReduce<FloatChoice>(input, output, axis, choice));
    }
    case DType::int32:
      return make_kernel(select_kernel("reduce", "arg_reduce_s32", options), 0,
                         ArgReduce<IntegerChoice<int32_t>>(input, output, axis, {largest, select_last}));
    case DType::int64:
      return make_kernel(select_kernel("reduce", "arg_reduce_s64", options), 0,
                         ArgReduce<IntegerChoice<int64_t>>(input, output, axis, {largest, select_last}));
    default:
      throw Error(StatusCode::invalid_argument, std::string(kStep) + ": expected numbers, found " + shape_text(input));
  }
}

}  // namespace edgelane
