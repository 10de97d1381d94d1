// A convolution with stride 1 runs over a whole map as one strip when its input, output and residual have the same pitch, and an
// element-wise step runs over whole planes when its tensors have the same layout. So all tensors of the same height and width
// that steps connect share one border, the largest that any of them needs. Those with a wide one share theirs among themselves:
// its gaps are computed like pixels, and with dilations of 16 on maps of 30 x 40 a network took 1.2 times as long when all had
// it.
#include "runtime/layout_plan.hpp"

#include <algorithm>
#include <numeric>

#include "runtime/message.hpp"
#include "runtime/model_file.hpp"
#include "runtime/op_table.hpp"

namespace edgelane {
namespace {

// Sets of tensor indices that grow together.
class DisjointSets {
 public:
  explicit DisjointSets(size_t count) : parent_(count) { std::iota(parent_.begin(), parent_.end(), size_t{0}); }
  size_t find(size_t i) {
    while (parent_[i] != i) i = parent_[i] = parent_[parent_[i]];
    return i;
  }
  void join(size_t a, size_t b) { parent_[find(a)] = find(b); }

 private:
  std::vector<size_t> parent_;
};

// Ops that work on strips of a map or step from plane to plane of quads; all others take planes of any kind.
bool needs_planes(Op op) {
  switch (op) {
    case Op::conv2d:
    case Op::conv_transpose2d:
    case Op::max_pool2d:
    case Op::average_pool2d:
    case Op::global_average_pool:
    case Op::channel_shuffle:
    case Op::resize:
    case Op::quantize:
    case Op::dequantize:
    case Op::requantize:
    case Op::recode:
    case Op::roi_align:
      return true;
    default:
      return false;
  }
}

bool same_image(const Tensor& a, const Tensor& b) { return a.dims[2] == b.dims[2] && a.dims[3] == b.dims[3]; }

// Rows or columns behind the last one that the taps of the last output pixel reach.
int reach(int input, int output, int kernel, int stride, int dilation, int pad_before) {
  const int64_t last = (int64_t{output} - 1) * stride - pad_before + (int64_t{kernel} - 1) * dilation;
  return static_cast<int>(std::max<int64_t>(0, last - (input - 1)));
}

// A border, of dilated convolutions, that would make every tensor with the same map much larger if they shared it.
bool is_wide(const Border& border, const Tensor& t) {
  constexpr int kWidest = 3;               // of a 7x7 window
  constexpr double kLargestGrowth = 1.15;  // of a plane
  if (std::max({border.top, border.left, border.bottom, border.right}) <= kWidest) return false;
  const PlanarLayout layout(1, 1, t.dims[2], t.dims[3], border);
  const double rows = static_cast<double>(t.dims[2]) + border.top + border.bottom;
  return rows * layout.pitch > kLargestGrowth * t.dims[2] * t.dims[3];
}

void check_size(const Tensor& t, const TensorDesc& desc, size_t memory_bytes) {
  uint64_t parts = 1, part_bytes = static_cast<uint64_t>(t.elements()) * dtype_bytes(t.dtype);
  if (desc.planar()) {  // borders can make the product too large for 64 bits
    parts = static_cast<uint64_t>(desc.layout.batch) * static_cast<uint64_t>(desc.layout.groups(desc.int8()));
    part_bytes = static_cast<uint64_t>(desc.layout.plane) * 4;
  }
  if (part_bytes > memory_bytes / parts) {
    fail(StatusCode::invalid_file, "tensor ", quoted(t.name), ": expected an activation of at most ", memory_bytes,
         " bytes, found ", parts, " times ", part_bytes, " bytes");
  }
}

}  // namespace

Border border_of_conv2d(const Model& model, const Step& step) {
  const Tensor& x = model.tensors[static_cast<size_t>(step.inputs[0])];
  const Tensor& w = model.tensors[static_cast<size_t>(step.inputs[1])];
  const Tensor& y = model.tensors[static_cast<size_t>(step.output)];
  const StepAttributes& a = step.attributes;
  Border border;
  border.top = a.pads[0];
  border.left = a.pads[1];
  border.bottom = reach(x.dims[2], y.dims[2], w.dims[2], a.strides[0], a.dilations[0], a.pads[0]);
  border.right = reach(x.dims[3], y.dims[3], w.dims[3], a.strides[1], a.dilations[1], a.pads[1]);
  return border;
}

std::vector<bool> find_activations(const Model& model) {
  std::vector<bool> found(model.tensors.size());
  for (const int input : model.inputs)
    found[static_cast<size_t>(input)] = model.tensors[static_cast<size_t>(input)].elements() > 0;
  for (const Step& step : model.steps) {
    found[static_cast<size_t>(step.output)] = true;
    for (size_t i = 0; i < step.inputs.size(); ++i) {
      if (step.inputs[i] != kAbsent && !is_weight_input(step.op, i)) found[static_cast<size_t>(step.inputs[i])] = true;
    }
  }
  return found;
}

std::vector<TensorDesc> plan_layouts(const Model& model) {
  const size_t count = model.tensors.size();
  const std::vector<bool> activation = find_activations(model);
  std::vector<Border> borders(count);
  for (const Step& step : model.steps) {
    if (step.op != Op::conv2d) continue;
    const auto x = static_cast<size_t>(step.inputs[0]);
    borders[x] = borders[x].merged(border_of_conv2d(model, step));
  }
  DisjointSets sets(count);
  for (const Step& step : model.steps) {
    const auto output = static_cast<size_t>(step.output);
    for (size_t i = 0; i < step.inputs.size(); ++i) {
      if (step.inputs[i] == kAbsent || is_weight_input(step.op, i)) continue;
      const auto input = static_cast<size_t>(step.inputs[i]);
      const Tensor &x = model.tensors[input], &y = model.tensors[output];
      if (!x.planar() || !y.planar() || !same_image(x, y)) continue;
      if (is_wide(borders[input], x) == is_wide(borders[output], y)) sets.join(input, output);
    }
  }
  std::vector<Border> shared(count);  // by representative
  for (size_t i = 0; i < count; ++i) shared[sets.find(i)] = shared[sets.find(i)].merged(borders[i]);

  std::vector<bool> in_planes(count);  // by representative
  for (const Step& step : model.steps) {
    if (!needs_planes(step.op)) continue;
    in_planes[sets.find(static_cast<size_t>(step.output))] = true;
    for (const int input : step.inputs) {
      if (input != kAbsent) in_planes[sets.find(static_cast<size_t>(input))] = true;
    }
  }

  std::vector<TensorDesc> descs(count);
  for (size_t i = 0; i < count; ++i) {
    const Tensor& t = model.tensors[i];
    descs[i] = t.desc();
    if (!activation[i]) continue;
    if (t.planar()) {
      const bool dense = t.dtype == DType::float32 && !in_planes[sets.find(i)];
      const int* d = t.dims;
      descs[i].layout =
          dense ? PlanarLayout::dense(d[0], d[1], d[2], d[3]) : PlanarLayout(d[0], d[1], d[2], d[3], shared[sets.find(i)]);
    }
    check_size(t, descs[i], model.limits.memory_bytes);
  }
  return descs;
}

}  // namespace edgelane
