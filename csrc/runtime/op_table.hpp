// What export/FORMAT.md lists for each op and each attribute, as tables.
#pragma once

#include <cstdint>

#include "runtime/model.hpp"

namespace edgelane {

enum class AttributeKey : uint16_t {
  strides = 1,
  pads,
  dilations,
  groups,
  activation,
  activation_params,
  intermediate_scale,
  intermediate_zero_point,
  kernel_shape,
  count_include_pad,
  axis,
  perm,
  starts,
  steps,
  function,
  mode,
  coordinates,
  nearest_mode,
  scales,
  value,
  axes,
  before,
  cubic_coeff,
  reduction,
  largest,
  select_last,
  batch_dims,
  scatter_reduction,
  epsilon,
  max_per_class,
  iou_threshold,
  score_threshold,
  center_point_box,
  sampling_ratio,
  spatial_scale,
};
constexpr int kAttributeKeys = 35;

struct AttributeRule {
  const char* name;
  bool is_float;
  int min_count, max_count;  // kMaxRank: the rank of the step's input is checked with its shape
  int64_t lowest, highest;   // of ints
  bool required;
};

struct OpRule {
  const char* name;
  int min_inputs, max_inputs;  // absent optional inputs at the end may be left out
  int required_inputs;         // the first ones, which must not be absent
  uint64_t attributes;         // bit k: key k is allowed
};

// Null for a number that the format does not define.
const AttributeRule* attribute_rule(uint16_t key) noexcept;
const OpRule* op_rule(uint16_t op) noexcept;

// Weights, biases, scales, shifts and slopes are packed while loading; every other input is an activation, constant or not.
bool is_weight_input(Op op, size_t index) noexcept;

inline bool allows(const OpRule& rule, uint16_t key) { return (rule.attributes >> key & 1) != 0; }

}  // namespace edgelane
