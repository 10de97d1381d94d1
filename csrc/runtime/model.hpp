// A compiled network as the records of a .lane file describe it (export/FORMAT.md), checked and typed, with nothing prepared yet.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/aligned_buffer.hpp"
#include "core/span.hpp"
#include "formats/activation.hpp"
#include "formats/tensor.hpp"
#include "runtime/limits.hpp"

namespace edgelane {

enum class TensorKind : uint8_t { intermediate = 0, constant, input, output };
enum class Encoding : uint8_t { dense = 0, block_sparse };

struct Tensor {
  std::string name;
  DType dtype = DType::float32;
  TensorKind kind = TensorKind::intermediate;
  int rank = 0;
  int dims[kMaxRank] = {};
  Span<const float> scales;  // empty: not quantised
  int32_t zero_point = 0;

  // Constants only; `data` points into the model's file.
  Encoding encoding = Encoding::dense;
  Span<const uint8_t> data;
  int block_oc = 0, block_ic = 0;

  Span<const int> shape() const { return {dims, static_cast<size_t>(rank)}; }
  int64_t elements() const {
    int64_t n = 1;
    for (int i = 0; i < rank; ++i) n *= dims[i];
    return n;
  }
  bool constant() const { return kind == TensorKind::constant; }
  QuantParams quant() const { return scales.empty() ? QuantParams{} : QuantParams{scales[0], zero_point}; }
  bool planar() const { return rank == 4 && (dtype == DType::float32 || dtype == DType::int8); }
  // Without a layout, which the memory plan decides.
  TensorDesc desc() const {
    TensorDesc d;
    d.dtype = dtype;
    d.rank = rank;
    for (int i = 0; i < rank; ++i) d.dims[i] = dims[i];
    d.quant = quant();
    return d;
  }
};

enum class Op : uint16_t {
  conv2d = 1,
  conv_transpose2d,
  linear,
  max_pool2d,
  average_pool2d,
  global_average_pool,
  affine,
  unary,
  prelu,
  binary,
  softmax,
  concat,
  slice,
  transpose,
  reshape,
  channel_shuffle,
  pad,
  resize,
  quantize,
  dequantize,
  requantize,
  reduce,
  log_softmax,
  cast,
  where,
  arg_reduce,
  top_k,
  gather,
  gather_elements,
  gather_nd,
  scatter_elements,
  scatter_nd,
  matmul,
  normalize,
  non_max_suppression,
  roi_align,
  recode,
};
constexpr int kOps = 37;

const char* op_name(Op op) noexcept;

// Every attribute of the format with its default; a step sets those that its op lists.
struct StepAttributes {
  int strides[2] = {1, 1};
  int pads[4] = {0, 0, 0, 0};  // top left bottom right
  int dilations[2] = {1, 1};
  int groups = 1;
  Activation activation;
  bool has_intermediate = false;
  QuantParams intermediate;
  int kernel_shape[2] = {1, 1};
  bool count_include_pad = false;
  int axis = 0;
  std::vector<int> perm, starts, steps, axes, before;
  int function = 0, mode = 0, coordinates = 0, nearest_mode = 0;
  float scales[2] = {1.0f, 1.0f};
  float value = 0.0f;
  float cubic_coeff = -0.75f;
  int reduction = 0, scatter_reduction = 0, batch_dims = 0;
  bool largest = true, select_last = false;
  float epsilon = 1e-5f;
  int max_per_class = 0, sampling_ratio = 0;
  float iou_threshold = 0.0f, score_threshold = 0.0f, spatial_scale = 1.0f;
  bool has_score_threshold = false, center_point_box = false;
};

constexpr int kAbsent = -1;  // an optional input that is not there

struct Step {
  std::string name;
  Op op = Op::conv2d;
  std::vector<int> inputs;  // tensor indices or kAbsent
  int output = 0;
  StepAttributes attributes;

  int input(size_t i) const { return i < inputs.size() ? inputs[i] : kAbsent; }
};

// How far an answer may be from the golden frame's: "Golden frame" in export/FORMAT.md; the bounds are in agreement.cpp.
enum class GoldenRule : uint32_t { same = 0, close = 1, rounded = 2 };

struct GoldenTensor {
  int tensor = 0;
  GoldenRule rule = GoldenRule::same;
  Span<const uint8_t> data;  // dense, row-major
};

struct Model {
  std::vector<Tensor> tensors;
  std::vector<Step> steps;
  std::vector<int> inputs, outputs;  // tensor indices in the order in which the model declares them
  std::vector<GoldenTensor> golden;
  std::string metadata;  // JSON, unread

  Limits limits;
  AlignedBuffer<uint8_t> file;
  std::vector<float> cell_floats;  // the cells section read as floats; scales point here
};

}  // namespace edgelane
