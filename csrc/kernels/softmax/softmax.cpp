#include "kernels/softmax/softmax.hpp"

#include <algorithm>

#include "kernels/border.hpp"
#include "kernels/check.hpp"
#include "kernels/function_kernel.hpp"
#include "kernels/offsets.hpp"
#include "kernels/softmax/rows.hpp"
#include "kernels/split.hpp"

namespace edgelane {
namespace {

struct Softmax {
  TensorDesc input, output;
  int axis;
  bool log;
  const SoftmaxRows* rows;

  void operator()(const KernelArgs& args) const noexcept {
    const float* x = static_cast<const float*>(args.inputs[0]);
    float* y = static_cast<float*>(args.output);
    input.straight() && output.straight() ? run_plain(*args.pool, x, y) : run_planar(*args.pool, x, y);
    fill_borders(args.output, output);
  }

 private:
  void run_plain(ThreadPool& pool, const float* x, float* y) const {
    int64_t outer = 1, inner = 1;
    const int count = output.dims[axis];
    for (int a = 0; a < axis; ++a) outer *= output.dims[a];
    for (int a = axis + 1; a < output.rank; ++a) inner *= output.dims[a];
    parallel_ranges(pool, outer, count * inner, [&](int64_t begin, int64_t end) {
      if (inner == 1) return rows->rows(x + begin * count, count, y + begin * count, count, end - begin, count, log);
      for (int64_t i = begin; i < end; ++i) {
        const int64_t offset = i * count * inner;
        rows->columns(x + offset, inner, y + offset, inner, count, inner, log);
      }
    });
  }

  // Row by row of the maps, each of whose pixels has a softmax of its own; along the width each row is one.
  void run_planar(ThreadPool& pool, const float* x, float* y) const {
    const ElementOffsets in(input), out(output);
    int dims[4] = {output.dims[0], output.dims[1], output.dims[2], 1};
    if (axis < 3) dims[axis] = 1;
    const int64_t items = static_cast<int64_t>(dims[0]) * dims[1] * dims[2];
    if (axis == 3) {
      parallel_ranges(pool, items, output.dims[3], [&](int64_t begin, int64_t end) {
        for (int64_t count = 0; begin < end; begin += count) {
          const int64_t plane = begin / dims[2], first = begin % dims[2];
          count = std::min(dims[2] - first, end - begin);
          const float* from = x + plane * input.layout.plane + input.layout.index(static_cast<int>(first), 0);
          float* to = y + plane * output.layout.plane + output.layout.index(static_cast<int>(first), 0);
          rows->rows(from, input.layout.pitch, to, output.layout.pitch, count, output.dims[3], log);
        }
      });
      return;
    }
    parallel_ranges(pool, items, output.elements() / items, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int index[4] = {static_cast<int>(i / dims[2] / dims[1]), static_cast<int>(i / dims[2] % dims[1]),
                              static_cast<int>(i % dims[2]), 0};
        const float* from = x + in(index, 4);
        float* to = y + out(index, 4);
        rows->columns(from, in.at(axis, 1), to, out.at(axis, 1), output.dims[axis], output.dims[3], log);
      }
    });
  }
};

}  // namespace

std::unique_ptr<PreparedKernel> prepare_softmax(const TensorDesc& input, const TensorDesc& output, int axis, bool log,
                                                const KernelOptions& options) {
  const char* name = log ? "log_softmax" : "softmax";
  check_dtype(name, input, DType::float32);
  check_dtype(name, output, DType::float32);
  check_same_shape(name, input, output);
  check(axis >= 0 && axis < input.rank, name, "axis " + std::to_string(axis) + " of " + shape_text(input));
  const KernelEntry& entry = select_kernel("softmax", std::string(name) + "_f32", options);
  return make_kernel(entry, 0, Softmax{input, output, axis, log, EDGELANE_FOR_ISA(entry.isa, softmax_rows)});
}

}  // namespace edgelane
