#include "kernels/resize/resize.hpp"

#include <algorithm>
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

// Linear and cubic: the columns of an input row are blended into a line of the workspace once, for all the output rows that blend
// it with its neighbours.
class BlendResize {
 public:
  BlendResize(const ResizeProblem& p, const ResizeRows& rows) : input_(p.input.layout), output_(p.output.layout), rows_(rows) {
    taps_ = p.mode == ResizeProblem::Mode::linear ? 2 : 4;
    for (int y = 0; y < output_.height; ++y) row_taps_.push_back(resize_taps(p, y, p.scale_h, input_.height, output_.height));
    const int lanes = rows_.lanes, vectors = (output_.width + lanes - 1) / lanes;
    line_ = static_cast<size_t>(vectors) * lanes;
    first_.resize(static_cast<size_t>(vectors));
    index_.resize(taps_ * line_);  // lanes past the last column have the weight 0
    weight_.resize(index_.size());
    for (int v = 0; v < vectors; ++v) {
      const int begin = v * lanes, end = std::min(begin + lanes, output_.width);
      std::vector<ResizeTaps> taps;
      int first = input_.width;
      for (int x = begin; x < end; ++x) {
        taps.push_back(resize_taps(p, x, p.scale_w, input_.width, output_.width));
        first = std::min(first, *std::min_element(taps.back().index, taps.back().index + taps_));
      }
      first_[static_cast<size_t>(v)] = first;
      for (int x = begin; x < end; ++x)
        for (int k = 0; k < taps_; ++k) {
          const ResizeTaps& t = taps[static_cast<size_t>(x - begin)];
          index_[static_cast<size_t>(k) * line_ + x] = t.index[k] - first;
          weight_[static_cast<size_t>(k) * line_ + x] = t.weight[k];
        }
    }
    near_ = *std::max_element(index_.begin(), index_.end()) < 2 * lanes;
  }

  size_t table_bytes() const {
    return row_taps_.size() * sizeof(ResizeTaps) + first_.size() * sizeof(int32_t) +
           index_.size() * (sizeof(int32_t) + sizeof(float));
  }
  // Lines for each plane, because the number of threads is not known yet.
  size_t workspace_bytes() const { return lines_bytes() * output_.batch * output_.channels; }

  void operator()(const KernelArgs& args) const noexcept {
    const int64_t planes = static_cast<int64_t>(output_.batch) * output_.channels;
    parallel_ranges(*args.pool, planes, output_.plane * taps_, [&](int64_t begin, int64_t end) {
      // Those of the range's first plane serve all of it.
      auto* lines = reinterpret_cast<float*>(static_cast<char*>(args.workspace) + static_cast<size_t>(begin) * lines_bytes());
      for (int64_t i = begin; i < end; ++i) {
        float* y = static_cast<float*>(args.output) + i * output_.plane;
        resize_plane(static_cast<const float*>(args.inputs[0]) + i * input_.plane, lines, y);
        fill_border(y, output_, 0);
      }
    });
  }

 private:
  size_t lines_bytes() const { return align_up(line_ * taps_ * sizeof(float)); }

  void resize_plane(const float* x, float* lines, float* y) const noexcept {
    const ResizeColumns columns = {first_.data(), index_.data(), weight_.data(), static_cast<int64_t>(first_.size()), near_};
    int held[4] = {-1, -1, -1, -1};  // the input row in each line; the rows of one output row are neighbours
    for (int row = 0; row < output_.height; ++row) {
      const ResizeTaps& t = row_taps_[static_cast<size_t>(row)];
      const float* from[4];
      for (int k = 0; k < taps_; ++k) {
        const int line = t.index[k] % taps_;
        float* to = lines + static_cast<size_t>(line) * line_;
        if (held[line] != t.index[k]) rows_.blend_columns(columns, taps_, x + input_.index(t.index[k], 0), input_.width, to);
        held[line] = t.index[k];
        from[k] = to;
      }
      rows_.blend_rows(from, t.weight, taps_, y + output_.index(row, 0), output_.width);
    }
  }

  PlanarLayout input_, output_;
  const ResizeRows& rows_;
  int taps_;
  std::vector<ResizeTaps> row_taps_;
  size_t line_;                         // elements: the output's width in whole vectors
  std::vector<int32_t> first_, index_;  // as ResizeColumns
  std::vector<float> weight_;
  bool near_;
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
