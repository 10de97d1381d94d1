#include "kernels/resize/resize.hpp"

#include <string>
#include <vector>

#include "core/aligned_buffer.hpp"
#include "kernels/border.hpp"
#include "kernels/check.hpp"
#include "kernels/function_kernel.hpp"
#include "kernels/movement/gather.hpp"
#include "kernels/resize/reference.hpp"
#include "kernels/resize/rows.hpp"
#include "kernels/split.hpp"

namespace edgelane {
namespace {

using reference::resize_taps;
using reference::ResizeTaps;

// Linear and cubic: each output row blends input rows into a line of the workspace, whose columns are blended then.
class BlendResize {
 public:
  BlendResize(const ResizeProblem& p, const ResizeRows& rows) : input_(p.input.layout), output_(p.output.layout), rows_(rows) {
    taps_ = p.mode == ResizeProblem::Mode::linear ? 2 : 4;
    for (int y = 0; y < output_.height; ++y) row_taps_.push_back(resize_taps(p, y, p.scale_h, input_.height, output_.height));
    index_.resize(static_cast<size_t>(taps_) * output_.width);
    weight_.resize(index_.size());
    for (int x = 0; x < output_.width; ++x) {
      const ResizeTaps t = resize_taps(p, x, p.scale_w, input_.width, output_.width);
      for (int k = 0; k < taps_; ++k) {
        index_[static_cast<size_t>(k) * output_.width + x] = t.index[k];
        weight_[static_cast<size_t>(k) * output_.width + x] = t.weight[k];
      }
    }
  }

  // One line for each plane, because the number of threads is not known yet.
  size_t line_bytes() const { return align_up(static_cast<size_t>(input_.width) * sizeof(float)); }
  size_t table_bytes() const { return row_taps_.size() * sizeof(ResizeTaps) + index_.size() * (sizeof(int32_t) + sizeof(float)); }
  size_t workspace_bytes() const { return line_bytes() * output_.batch * output_.channels; }

  void operator()(const KernelArgs& args) const noexcept {
    const int64_t planes = static_cast<int64_t>(output_.batch) * output_.channels;
    parallel_ranges(*args.pool, planes, output_.plane * taps_, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const float* x = static_cast<const float*>(args.inputs[0]) + i * input_.plane;
        float* y = static_cast<float*>(args.output) + i * output_.plane;
        float* line = reinterpret_cast<float*>(static_cast<char*>(args.workspace) + static_cast<size_t>(i) * line_bytes());
        for (int row = 0; row < output_.height; ++row) {
          const ResizeTaps& t = row_taps_[row];
          const float* from[4];
          for (int k = 0; k < taps_; ++k) from[k] = x + input_.index(t.index[k], 0);
          rows_.blend_rows(from, t.weight, taps_, line, input_.width);
          rows_.blend_columns(line, index_.data(), weight_.data(), taps_, y + output_.index(row, 0), output_.width);
        }
        fill_border(y, output_, 0);
      }
    });
  }

 private:
  PlanarLayout input_, output_;
  const ResizeRows& rows_;
  int taps_;
  std::vector<ResizeTaps> row_taps_;
  std::vector<int32_t> index_;  // [taps][output width]
  std::vector<float> weight_;   // [taps][output width]
};

}  // namespace

std::unique_ptr<PreparedKernel> prepare_resize(const ResizeProblem& problem, const KernelOptions& options) {
  constexpr const char* kStep = "resize";
  const TensorDesc &input = problem.input, &output = problem.output;
  check(input.planar() && output.planar() && input.dtype == output.dtype && input.dims[0] == output.dims[0] &&
            input.dims[1] == output.dims[1],
        kStep, "expected maps that differ in height and width only, found " + shape_text(input) + " and " + shape_text(output));
  check(problem.scale_h > 0.0f && problem.scale_w > 0.0f, kStep, "scales must be positive");
  const KernelEntry& entry = select_kernel("resize", input.int8() ? "resize_s8" : "resize_f32", options);
  if (problem.mode == ResizeProblem::Mode::nearest) {
    GatherProblem gather = GatherProblem::identity({&input, 1}, output);
    for (int y = 0; y < output.dims[2]; ++y) {
      gather.index[2][y] = resize_taps(problem, y, problem.scale_h, input.dims[2], output.dims[2]).index[0];
    }
    for (int x = 0; x < output.dims[3]; ++x) {
      gather.index[3][x] = resize_taps(problem, x, problem.scale_w, input.dims[3], output.dims[3]).index[0];
    }
    return prepare_gather(std::move(gather), entry);
  }
  check(!input.int8(), kStep, "int8 supports mode nearest only");
  BlendResize blend(problem, *EDGELANE_FOR_ISA(entry.isa, resize_rows));
  const size_t workspace_bytes = blend.workspace_bytes(), table_bytes = blend.table_bytes();
  return make_kernel(entry, workspace_bytes, std::move(blend), table_bytes);
}

}  // namespace edgelane
