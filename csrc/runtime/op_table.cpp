#include "runtime/op_table.hpp"

#include <limits>

#include "kernels/detection/detection.hpp"
#include "kernels/elementwise/elementwise.hpp"
#include "kernels/indexing/scatter_reduction.hpp"
#include "kernels/reduce/reduction.hpp"
#include "runtime/model_file.hpp"

namespace edgelane {
namespace {

constexpr int64_t kMaxInt = std::numeric_limits<int32_t>::max();
constexpr int kPerAxis = kMaxRank;

constexpr AttributeRule kAttributes[kAttributeKeys + 1] = {
    {"", false, 0, 0, 0, 0, false},
    {"strides", false, 2, 2, 1, kMaxWindow, false},
    {"pads", false, 4, 4, 0, kMaxWindow, false},
    {"dilations", false, 2, 2, 1, kMaxWindow, false},
    {"groups", false, 1, 1, 1, kMaxInt, false},
    {"activation", false, 1, 1, 0, kActivationKinds - 1, false},
    {"activation_params", true, 2, 2, 0, 0, false},
    {"intermediate_scale", true, 1, 1, 0, 0, false},
    {"intermediate_zero_point", false, 1, 1, -128, 127, false},
    {"kernel_shape", false, 2, 2, 1, kMaxWindow, true},
    {"count_include_pad", false, 1, 1, 0, 1, false},
    {"axis", false, 1, 1, 0, kMaxRank - 1, true},
    {"perm", false, 0, kPerAxis, 0, kMaxRank - 1, true},
    {"starts", false, 0, kPerAxis, 0, kMaxInt, true},
    {"steps", false, 0, kPerAxis, 1, kMaxInt, true},
    {"function", false, 1, 1, 0, kBinaryFunctions - 1, true},
    {"mode", false, 1, 1, 0, 3, false},
    {"coordinates", false, 1, 1, 0, 3, false},
    {"nearest_mode", false, 1, 1, 0, 3, false},
    {"scales", true, 2, 2, 0, 0, true},
    {"value", true, 1, 1, 0, 0, false},
    {"axes", false, 1, kPerAxis, 0, kMaxRank - 1, true},
    {"before", false, 0, kPerAxis, 0, kMaxInt, true},
    {"cubic_coeff", true, 1, 1, 0, 0, false},
    {"reduction", false, 1, 1, 0, kReductions - 1, false},
    {"largest", false, 1, 1, 0, 1, false},
    {"select_last", false, 1, 1, 0, 1, false},
    {"batch_dims", false, 1, 1, 0, kMaxRank - 1, false},
    {"scatter_reduction", false, 1, 1, 0, kScatterReductions - 1, false},
    {"epsilon", true, 1, 1, 0, 0, false},
    {"max_per_class", false, 1, 1, 1, kMaxInt, true},
    {"iou_threshold", true, 1, 1, 0, 0, false},
    {"score_threshold", true, 1, 1, 0, 0, false},
    {"center_point_box", false, 1, 1, 0, 1, false},
    {"sampling_ratio", false, 1, 1, 0, kMaxSamplingRatio, false},
    {"spatial_scale", true, 1, 1, 0, 0, false},
};

template <class... Keys>
constexpr uint64_t keys(Keys... key) {
  return (uint64_t{0} | ... | (uint64_t{1} << static_cast<uint32_t>(key)));
}

using K = AttributeKey;
constexpr uint64_t kActivation = keys(K::activation, K::activation_params);
constexpr uint64_t kWindow = keys(K::strides, K::pads, K::dilations);

constexpr OpRule kOpRules[kOps + 1] = {
    {"", 0, 0, 0, 0},
    {"conv2d", 2, 5, 2, kWindow | kActivation | keys(K::groups, K::intermediate_scale, K::intermediate_zero_point)},
    {"conv_transpose2d", 2, 4, 2, kWindow | kActivation | keys(K::groups)},
    {"linear", 2, 3, 2, kActivation},
    {"max_pool2d", 1, 1, 1, kWindow | keys(K::kernel_shape)},
    {"average_pool2d", 1, 1, 1, keys(K::kernel_shape, K::strides, K::pads, K::count_include_pad)},
    {"global_average_pool", 1, 1, 1, 0},
    {"affine", 3, 4, 3, kActivation},
    {"unary", 1, 1, 1, kActivation},
    {"prelu", 2, 2, 2, 0},
    {"binary", 2, 2, 2, kActivation | keys(K::function)},
    {"softmax", 1, 1, 1, keys(K::axis)},
    {"concat", 1, 255, 255, keys(K::axis)},
    {"slice", 1, 1, 1, keys(K::starts, K::steps)},
    {"transpose", 1, 1, 1, keys(K::perm)},
    {"reshape", 1, 1, 1, 0},
    {"channel_shuffle", 1, 1, 1, keys(K::groups)},
    {"pad", 1, 1, 1, keys(K::before, K::mode, K::value)},
    {"resize", 1, 1, 1, keys(K::mode, K::coordinates, K::nearest_mode, K::scales, K::cubic_coeff)},
    {"quantize", 1, 1, 1, 0},
    {"dequantize", 1, 1, 1, 0},
    {"requantize", 1, 1, 1, 0},
    {"reduce", 1, 1, 1, keys(K::axes, K::reduction)},
    {"log_softmax", 1, 1, 1, keys(K::axis)},
    {"cast", 1, 1, 1, 0},
    {"where", 3, 3, 3, 0},
    {"arg_reduce", 1, 1, 1, keys(K::axis, K::largest, K::select_last)},
    {"top_k", 1, 1, 1, keys(K::axis, K::largest)},
    {"gather", 2, 2, 2, keys(K::axis)},
    {"gather_elements", 2, 2, 2, keys(K::axis)},
    {"gather_nd", 2, 2, 2, keys(K::batch_dims)},
    {"scatter_elements", 3, 3, 3, keys(K::axis, K::scatter_reduction)},
    {"scatter_nd", 3, 3, 3, keys(K::scatter_reduction)},
    {"matmul", 2, 2, 2, 0},
    {"normalize", 1, 3, 1, keys(K::axis, K::mode, K::epsilon)},
    {"non_max_suppression", 2, 2, 2, keys(K::max_per_class, K::iou_threshold, K::score_threshold, K::center_point_box)},
    {"roi_align", 3, 3, 3, keys(K::mode, K::coordinates, K::sampling_ratio, K::spatial_scale)},
    {"recode", 1, 1, 1, 0},
};

}  // namespace

const AttributeRule* attribute_rule(uint16_t key) noexcept {
  return key >= 1 && key <= kAttributeKeys ? &kAttributes[key] : nullptr;
}

const OpRule* op_rule(uint16_t op) noexcept { return op >= 1 && op <= kOps ? &kOpRules[op] : nullptr; }

bool is_weight_input(Op op, size_t index) noexcept {
  switch (op) {
    case Op::conv2d:
      return index == 1 || index == 2 || index == 4;
    case Op::conv_transpose2d:
    case Op::linear:
    case Op::affine:
    case Op::prelu:
    case Op::normalize:
      return index >= 1;
    default:
      return false;
  }
}

const char* op_name(Op op) noexcept {
  const OpRule* rule = op_rule(static_cast<uint16_t>(op));
  return rule != nullptr ? rule->name : "unknown";
}

}  // namespace edgelane
