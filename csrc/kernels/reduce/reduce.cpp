#include "kernels/reduce/reduce.hpp"

#include <vector>

#include "kernels/border.hpp"
#include "kernels/check.hpp"
#include "kernels/function_kernel.hpp"
#include "kernels/offsets.hpp"
#include "kernels/reduce/rows.hpp"
#include "kernels/split.hpp"

namespace edgelane {
namespace {

struct Axis {
  int64_t size = 1, x = 0, y = 0;  // strides in elements
};

class ReduceMean {
 public:
  ReduceMean(const TensorDesc& input, const TensorDesc& output, Span<const int> axes, const ReduceRows& rows)
      : output_(output), rows_(rows) {
    const ElementOffsets in(input), out(output);
    x_base_ = in.base();
    y_base_ = out.base();
    bool reduced[kMaxRank] = {};
    for (int a : axes) reduced[a] = true;
    for (int a = 0; a < input.rank; ++a) {
      if (reduced[a]) count_ *= static_cast<float>(input.dims[a]);
    }
    // The innermost axis is a run of elements side by side; adjacent axes that are treated alike and lie behind each other join
    // it.
    int last = input.rank - 1;
    row_reduced_ = reduced[last];
    row_ = input.dims[last];
    for (--last; last >= 0 && reduced[last] == row_reduced_ && in.at(last, 1) == row_ &&
                 out.at(last, 1) == (row_reduced_ ? out.at(last, 1) : row_);
         --last) {
      row_ *= input.dims[last];
    }
    if (input.planar() && reduced[2] && reduced[3] && last >= 2) {  // gaps hold 0: a map is one strip
      row_ = input.layout.strip_length();
      last = 1;
    }
    for (int a = 0; a <= last; ++a) (reduced[a] ? reduced_ : kept_).push_back({input.dims[a], in.at(a, 1), out.at(a, 1)});
  }

  void operator()(const KernelArgs& args) const noexcept {
    const float* x = static_cast<const float*>(args.inputs[0]) + x_base_;
    float* y = static_cast<float*>(args.output) + y_base_;
    int64_t items = 1, sums = 1;
    for (const Axis& a : kept_) items *= a.size;
    for (const Axis& a : reduced_) sums *= a.size;
    parallel_ranges(*args.pool, items, sums * row_, [&](int64_t begin, int64_t end) {
      for (int64_t item = begin; item < end; ++item) {
        int64_t from = 0, to = 0, rest = item;
        for (size_t i = kept_.size(); i-- > 0; rest /= kept_[i].size) {
          from += rest % kept_[i].size * kept_[i].x;
          to += rest % kept_[i].size * kept_[i].y;
        }
        float total = 0.0f;
        if (!row_reduced_) std::fill(y + to, y + to + row_, 0.0f);
        for (int64_t k = 0; k < sums; ++k) {
          int64_t offset = from;
          rest = k;
          for (size_t i = reduced_.size(); i-- > 0; rest /= reduced_[i].size) offset += rest % reduced_[i].size * reduced_[i].x;
          if (row_reduced_) {
            total += rows_.sum(x + offset, row_);
          } else {
            rows_.add(x + offset, y + to, row_);
          }
        }
        if (row_reduced_) {
          y[to] = total / count_;
        } else {
          rows_.divide(y + to, row_, count_);
        }
      }
    });
    fill_borders(args.output, output_);
  }

 private:
  TensorDesc output_;
  const ReduceRows& rows_;
  std::vector<Axis> kept_, reduced_;  // axes outside of the row
  int64_t x_base_ = 0, y_base_ = 0, row_ = 1;
  bool row_reduced_ = false;
  float count_ = 1.0f;
};

}  // namespace

std::unique_ptr<PreparedKernel> prepare_reduce_mean(const TensorDesc& input, const TensorDesc& output, Span<const int> axes,
                                                    const KernelOptions& options) {
  constexpr const char* kStep = "reduce_mean";
  check_dtype(kStep, input, DType::float32);
  check_dtype(kStep, output, DType::float32);
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
  const KernelEntry& entry = select_kernel("reduce", "reduce_mean_f32", options);
  return make_kernel(entry, 0, ReduceMean(input, output, axes, *EDGELANE_FOR_ISA(entry.isa, reduce_rows)));
}

}  // namespace edgelane
