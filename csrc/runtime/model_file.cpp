// From the sections of a file to tensors and steps. Shapes and dtypes of the steps are checked in check_step.cpp.
#include "runtime/model_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <limits>
#include <unordered_set>

#include "runtime/file_reader.hpp"
#include "runtime/message.hpp"
#include "runtime/op_table.hpp"

namespace edgelane {
namespace {

constexpr StatusCode kInvalid = StatusCode::invalid_file;
constexpr uint32_t kAbsentInput = 0xFFFFFFFF;
constexpr int64_t kMaxElements = std::numeric_limits<int32_t>::max();

void check_reserved(const Section& section, size_t offset, size_t count, const std::string& what) {
  for (size_t i = 0; i < count; ++i) {
    if (section.read<uint8_t>(offset + i) != 0) fail(kInvalid, what, ": expected reserved bytes to be 0");
  }
}

class Parser {
 public:
  Parser(Model& model, const Sections& sections) : model_(model), s_(sections) {}

  void parse() {
    read_cells();
    read_tensors();
    read_steps();
    check_data_flow();
    read_golden();
    check_data_ranges();
    check_operations(model_);
    if (!is_text(s_.metadata.bytes)) fail(kInvalid, "expected the metadata to be UTF-8 text, found other bytes");
    model_.metadata.assign(reinterpret_cast<const char*>(s_.metadata.bytes.data()), s_.metadata.bytes.size());
  }

 private:
  // A range of the data section that some record claims.
  struct Claim {
    uint64_t offset, bytes;
    std::string what;
  };

  // ---- cells and tensors ----

  void read_cells() {
    const size_t count = s_.cells.records(kCellBytes);
    model_.cell_floats.resize(count);
    for (size_t i = 0; i < count; ++i) {
      const auto value = s_.cells.read<double>(i * kCellBytes);
      // A cell that is not exactly a float32 may be an integer or a wider float; as a scale it is refused.
      const bool is_float = std::fabs(value) <= std::numeric_limits<float>::max() && static_cast<float>(value) == value;
      model_.cell_floats[i] = is_float ? static_cast<float>(value) : std::numeric_limits<float>::quiet_NaN();
    }
  }

  void read_tensors() {
    const size_t count = s_.tensors.records(kTensorBytes);
    if (count > kMaxTensors) fail(kInvalid, "expected at most ", kMaxTensors, " tensors, found ", count);
    model_.tensors.resize(count);
    std::unordered_set<std::string> names;
    for (size_t i = 0; i < count; ++i) {
      Tensor& t = model_.tensors[i];
      read_tensor(t, i * kTensorBytes, message("tensor ", i));
      if (t.name.empty()) fail(kInvalid, "tensor ", i, ": expected a name, found an empty one");
      if (!names.insert(t.name).second) fail(kInvalid, "tensor ", i, ": expected unique names, found ", quoted(t.name), " twice");
      if (t.kind == TensorKind::input) model_.inputs.push_back(static_cast<int>(i));
      if (t.kind == TensorKind::output) model_.outputs.push_back(static_cast<int>(i));
    }
    if (model_.outputs.empty()) fail(kInvalid, "expected at least one output tensor, found none");
  }

  void read_tensor(Tensor& t, size_t at, const std::string& number) {
    t.name = read_name(s_.strings, s_.tensors.read<uint32_t>(at), s_.tensors.read<uint32_t>(at + 4), number);
    const std::string what = number + " " + quoted(t.name);
    const auto dtype = s_.tensors.read<uint8_t>(at + 8);
    const auto kind = s_.tensors.read<uint8_t>(at + 9);
    const auto rank = s_.tensors.read<uint8_t>(at + 10);
    const auto encoding = s_.tensors.read<uint8_t>(at + 11);
    if (dtype > static_cast<uint8_t>(DType::uint8)) fail(kInvalid, what, ": expected dtype 0 to 5, found ", int{dtype});
    if (kind > static_cast<uint8_t>(TensorKind::output)) fail(kInvalid, what, ": expected kind 0 to 3, found ", int{kind});
    if (rank > kMaxRank) fail(kInvalid, what, ": expected rank 0 to ", kMaxRank, ", found ", int{rank});
    if (encoding > static_cast<uint8_t>(Encoding::block_sparse))
      fail(kInvalid, what, ": expected encoding 0 or 1, found ", int{encoding});
    t.dtype = static_cast<DType>(dtype);
    t.kind = static_cast<TensorKind>(kind);
    t.rank = rank;
    t.encoding = static_cast<Encoding>(encoding);
    read_dims(t, at + 12, what);
    read_scales(t, at, what);
    read_constant(t, at, what);
    check_reserved(s_.tensors, at + 72, 24, what);
    if (!t.constant() && t.planar() && (t.dims[2] > kMaxImageSide || t.dims[3] > kMaxImageSide)) {
      fail(kInvalid, what, ": expected a height and width of at most ", kMaxImageSide, ", found ", t.dims[2], " x ", t.dims[3]);
    }
  }

  void read_dims(Tensor& t, size_t at, const std::string& what) {
    const uint32_t lowest = t.kind == TensorKind::input || t.kind == TensorKind::output ? 0 : 1;
    int64_t elements = 1;
    for (int i = 0; i < kMaxRank; ++i) {
      const auto dim = s_.tensors.read<uint32_t>(at + 4 * static_cast<size_t>(i));
      if (i >= t.rank) {
        if (dim != 0) fail(kInvalid, what, ": expected dims past the rank ", t.rank, " to be 0, found ", dim);
        continue;
      }
      if (dim < lowest || dim > kMaxElements)
        fail(kInvalid, what, ": expected dims of ", lowest, " to ", kMaxElements, ", found ", dim);
      elements *= dim;  // both factors are below 2^31
      if (elements > kMaxElements) fail(kInvalid, what, ": expected at most ", kMaxElements, " elements, found more");
      t.dims[i] = static_cast<int>(dim);
    }
  }

  void read_scales(Tensor& t, size_t at, const std::string& what) {
    const auto count = s_.tensors.read<uint32_t>(at + 36);
    const auto first = s_.tensors.read<uint32_t>(at + 40);
    t.zero_point = s_.tensors.read<int32_t>(at + 44);
    const bool per_channel = t.constant() && t.rank > 0 && count == static_cast<uint32_t>(t.dims[0]);
    if (count > 1 && !per_channel) {
      fail(kInvalid, what, ": expected 0 scales, 1, or one for each output channel of a constant, found ", count);
    }
    if (!t.constant() && t.dtype == DType::int8 && count != 1)
      fail(kInvalid, what, ": expected one scale of an int8 activation, found ", count);
    if (t.zero_point < -128 || t.zero_point > 127)
      fail(kInvalid, what, ": expected a zero point of -128 to 127, found ", t.zero_point);
    if (t.constant() && t.zero_point != 0) fail(kInvalid, what, ": expected zero point 0 of a constant, found ", t.zero_point);
    if (count == 0) return;
    const size_t cells = model_.cell_floats.size();
    if (first > cells || count > cells - first) {
      fail(kInvalid, what, ": expected its ", count, " scales among ", cells, " cells, found the first at ", first);
    }
    t.scales = Span<const float>(model_.cell_floats.data() + first, count);
    for (const float scale : t.scales) {
      if (!(std::isfinite(scale) && scale > 0.0f)) fail(kInvalid, what, ": expected float32 scales above 0, found ", scale);
    }
  }

  void read_constant(Tensor& t, size_t at, const std::string& what) {
    const auto offset = s_.tensors.read<uint64_t>(at + 48);
    const auto bytes = s_.tensors.read<uint64_t>(at + 56);
    const auto block_oc = s_.tensors.read<uint16_t>(at + 64);
    const auto block_ic = s_.tensors.read<uint16_t>(at + 66);
    const auto nonzero = s_.tensors.read<uint32_t>(at + 68);
    const bool sparse = t.encoding == Encoding::block_sparse;
    if (!sparse && (block_oc != 0 || block_ic != 0 || nonzero != 0)) {
      fail(kInvalid, what, ": expected no blocks of a dense tensor, found ", nonzero, " of ", block_oc, " x ", block_ic);
    }
    if (!t.constant()) {
      if (sparse || offset != 0 || bytes != 0)
        fail(kInvalid, what, ": expected no data of a tensor that is not a constant, found ", bytes, " bytes");
      return;
    }
    if (offset % kAlignment != 0) fail(kInvalid, what, ": expected its data at a multiple of 64, found offset ", offset);
    t.data = s_.data.range(offset, bytes, what);
    claims_.push_back({offset, bytes, what});
    const int64_t dense_bytes = t.elements() * static_cast<int64_t>(dtype_bytes(t.dtype));
    const Limits& limits = model_.limits;
    if (static_cast<size_t>(dense_bytes) > limits.constant_bytes()) {
      fail(kInvalid, what, ": expected a constant of at most ", limits.constant_bytes(), " bytes, found ", dense_bytes);
    }
    constant_bytes_ += static_cast<size_t>(dense_bytes);
    if (constant_bytes_ > limits.memory_bytes) {
      fail(kInvalid, what, ": expected constants of at most ", limits.memory_bytes, " bytes together, found ", constant_bytes_);
    }
    if (sparse) {
      check_blocks(t, block_oc, block_ic, nonzero, what);
    } else if (static_cast<uint64_t>(dense_bytes) != bytes) {
      fail(kInvalid, what, ": expected ", dense_bytes, " bytes for ", dtype_name(t.dtype), list(t.shape()), ", found ", bytes);
    }
  }

  void check_blocks(Tensor& t, int block_oc, int block_ic, uint32_t nonzero, const std::string& what) {
    if (block_oc < 1 || block_oc > 64 || block_ic < 1 || block_ic > 64) {
      fail(kInvalid, what, ": expected blocks of 1 to 64 channels, found ", block_oc, " x ", block_ic);
    }
    if ((t.rank != 4 && t.rank != 2) || (t.dtype != DType::float32 && t.dtype != DType::int8)) {
      fail(kInvalid, what, ": expected block-sparse weights of rank 2 or 4 in float32 or int8, found ", dtype_name(t.dtype),
           list(t.shape()));
    }
    t.block_oc = block_oc;
    t.block_ic = block_ic;
    const int64_t taps = t.rank == 4 ? int64_t{t.dims[2]} * t.dims[3] : 1;
    const int64_t oc_blocks = (t.dims[0] + int64_t{block_oc} - 1) / block_oc;
    const int64_t ic_blocks = (t.dims[1] + int64_t{block_ic} - 1) / block_ic;
    const int64_t blocks = oc_blocks * taps * ic_blocks;  // at most the number of elements
    const auto mask_bytes = static_cast<uint64_t>((blocks + 63) / 64 * 8);
    const uint64_t value_bytes = uint64_t{nonzero} * static_cast<uint64_t>(block_oc * block_ic) * dtype_bytes(t.dtype);
    if (t.data.size() != mask_bytes + value_bytes) {
      fail(kInvalid, what, ": expected ", mask_bytes + value_bytes, " bytes for ", nonzero, " of ", blocks, " blocks of ",
           block_oc, " x ", block_ic, ", found ", t.data.size());
    }
    int64_t ones = 0;
    for (uint64_t i = 0; i < mask_bytes; i += sizeof(uint64_t)) {
      uint64_t bits;
      std::memcpy(&bits, t.data.data() + i, sizeof bits);
      ones += __builtin_popcountll(bits);
    }
    if (ones != nonzero) fail(kInvalid, what, ": expected ", nonzero, " ones in the block bitmask, found ", ones);
    for (auto bit = static_cast<uint64_t>(blocks); bit < mask_bytes * 8; ++bit) {
      if ((t.data[bit / 8] >> (bit % 8) & 1) != 0)
        fail(kInvalid, what, ": expected zeros behind the ", blocks, " bits of the block bitmask");
    }
    if (t.dims[0] % block_oc != 0 || t.dims[1] % block_ic != 0) check_block_edges(t, oc_blocks, taps, ic_blocks, what);
  }

  // Positions of a block that lie past the last channel must be 0.
  void check_block_edges(const Tensor& t, int64_t oc_blocks, int64_t taps, int64_t ic_blocks, const std::string& what) {
    const size_t element = dtype_bytes(t.dtype);
    const size_t block_bytes = static_cast<size_t>(t.block_oc * t.block_ic) * element;
    const uint8_t* block = t.data.data() + (oc_blocks * taps * ic_blocks + 63) / 64 * 8;
    int64_t bit = 0;
    for (int64_t ob = 0; ob < oc_blocks; ++ob) {
      const int64_t rows = std::min<int64_t>(t.block_oc, t.dims[0] - ob * t.block_oc);
      for (int64_t tap = 0; tap < taps; ++tap) {
        for (int64_t ib = 0; ib < ic_blocks; ++ib, ++bit) {
          if ((t.data[static_cast<size_t>(bit / 8)] >> (bit % 8) & 1) == 0) continue;
          const int64_t columns = std::min<int64_t>(t.block_ic, t.dims[1] - ib * t.block_ic);
          for (size_t i = 0; i < block_bytes; ++i) {
            const auto position = static_cast<int64_t>(i / element);
            const bool past = position / t.block_ic >= rows || position % t.block_ic >= columns;
            if (past && block[i] != 0) fail(kInvalid, what, ": expected zeros past the edge of the tensor in block ", bit);
          }
          block += block_bytes;
        }
      }
    }
  }

  // ---- steps ----

  void read_steps() {
    const size_t count = s_.steps.records(kStepBytes);
    // Each step writes a tensor of its own, so more steps than tensors cannot be right.
    if (count > model_.tensors.size()) {
      fail(kInvalid, "expected at most one step for each of the ", model_.tensors.size(), " tensors, found ", count, " steps");
    }
    io_count_ = s_.io.records(kIoBytes);
    attribute_count_ = s_.attributes.records(kAttributeBytes);
    model_.steps.resize(count);
    for (size_t i = 0; i < count; ++i) read_step(model_.steps[i], i * kStepBytes, message("step ", i));
  }

  void read_step(Step& step, size_t at, const std::string& number) {
    step.name = read_name(s_.strings, s_.steps.read<uint32_t>(at), s_.steps.read<uint32_t>(at + 4), number);
    const auto op = s_.steps.read<uint16_t>(at + 8);
    const OpRule* rule = op_rule(op);
    if (rule == nullptr) fail(kInvalid, number, " ", quoted(step.name), ": expected op 1 to ", kOps, ", found ", op);
    step.op = static_cast<Op>(op);
    const std::string what = message(number, " ", quoted(step.name), " (", rule->name, ")");

    const auto inputs = s_.steps.read<uint8_t>(at + 10);
    const auto outputs = s_.steps.read<uint8_t>(at + 11);
    const auto first_io = s_.steps.read<uint32_t>(at + 12);
    if (inputs < rule->min_inputs || inputs > rule->max_inputs) {
      fail(kInvalid, what, ": expected ", rule->min_inputs, " to ", rule->max_inputs, " inputs, found ", int{inputs});
    }
    if (outputs != 1) fail(kInvalid, what, ": expected 1 output, found ", int{outputs});
    const size_t used = size_t{inputs} + outputs;
    if (first_io > io_count_ || used > io_count_ - first_io) {
      fail(kInvalid, what, ": expected its ", used, " tensor indices among ", io_count_, ", found the first at ", first_io);
    }
    for (size_t i = 0; i < used; ++i) {
      const auto index = s_.io.read<uint32_t>((first_io + i) * kIoBytes);
      const bool optional = i < inputs && i >= static_cast<size_t>(rule->required_inputs);
      if (index >= model_.tensors.size() && !(optional && index == kAbsentInput)) {
        fail(kInvalid, what, ": expected a tensor index below ", model_.tensors.size(), ", found ", index);
      }
      if (i < inputs) {
        step.inputs.push_back(index == kAbsentInput ? kAbsent : static_cast<int>(index));
      } else {
        step.output = static_cast<int>(index);
      }
    }
    read_attributes(step, at, *rule, what);
    check_reserved(s_.steps, at + 24, 8, what);
  }

  void read_attributes(Step& step, size_t at, const OpRule& rule, const std::string& what) {
    const auto first = s_.steps.read<uint32_t>(at + 16);
    const auto count = s_.steps.read<uint32_t>(at + 20);
    if (first > attribute_count_ || count > attribute_count_ - first) {
      fail(kInvalid, what, ": expected its ", count, " attributes among ", attribute_count_, ", found the first at ", first);
    }
    uint64_t seen = 0;
    for (uint32_t i = 0; i < count; ++i) {
      const size_t record = (size_t{first} + i) * kAttributeBytes;
      const auto key = s_.attributes.read<uint16_t>(record);
      const AttributeRule* attribute = attribute_rule(key);
      if (attribute == nullptr) fail(kInvalid, what, ": expected attribute keys 1 to ", kAttributeKeys, ", found ", key);
      if (!allows(rule, key)) fail(kInvalid, what, ": attribute ", attribute->name, " does not belong to this op");
      if ((seen >> key & 1) != 0) fail(kInvalid, what, ": attribute ", attribute->name, " stands twice");
      seen |= uint64_t{1} << key;
      read_attribute(step.attributes, static_cast<AttributeKey>(key), *attribute, record,
                     what + ": attribute " + attribute->name);
    }
    for (uint16_t key = 1; key <= kAttributeKeys; ++key) {
      if (allows(rule, key) && attribute_rule(key)->required && (seen >> key & 1) == 0) {
        fail(kInvalid, what, ": expected attribute ", attribute_rule(key)->name, ", which is missing");
      }
    }
    if ((seen >> static_cast<int>(AttributeKey::intermediate_zero_point) & 1) != 0 && !step.attributes.has_intermediate) {
      fail(kInvalid, what, ": attribute intermediate_zero_point needs intermediate_scale, which is missing");
    }
  }

  void read_attribute(StepAttributes& a, AttributeKey key, const AttributeRule& rule, size_t record, const std::string& what) {
    const auto type = s_.attributes.read<uint16_t>(record + 2);
    const auto count = s_.attributes.read<uint32_t>(record + 4);
    const auto first = s_.attributes.read<uint32_t>(record + 8);
    check_reserved(s_.attributes, record + 12, 4, what);
    if (type != (rule.is_float ? 1 : 0))
      fail(kInvalid, what, ": expected type ", rule.is_float ? "1 (float)" : "0 (int)", ", found ", type);
    if (count < static_cast<uint32_t>(rule.min_count) || count > static_cast<uint32_t>(rule.max_count)) {
      fail(kInvalid, what, ": expected ", rule.min_count, " to ", rule.max_count, " values, found ", count);
    }
    const size_t cells = model_.cell_floats.size();
    if (first > cells || count > cells - first) {
      fail(kInvalid, what, ": expected its ", count, " values among ", cells, " cells, found the first at ", first);
    }
    std::vector<int> ints;
    float floats[2] = {};
    for (uint32_t i = 0; i < count; ++i) {
      const size_t at = (size_t{first} + i) * kCellBytes;
      if (rule.is_float) {
        const auto value = s_.cells.read<double>(at);
        if (!(std::fabs(value) <= std::numeric_limits<float>::max()))
          fail(kInvalid, what, ": expected a finite float32, found ", value);
        floats[i] = static_cast<float>(value);
      } else {
        const auto value = s_.cells.read<int64_t>(at);
        if (value < rule.lowest || value > rule.highest) {
          fail(kInvalid, what, ": expected ", rule.lowest, " to ", rule.highest, ", found ", value);
        }
        ints.push_back(static_cast<int>(value));
      }
    }
    set_attribute(a, key, std::move(ints), floats, what);
  }

  static void set_attribute(StepAttributes& a, AttributeKey key, std::vector<int> ints, const float* floats,
                            const std::string& what) {
    const auto copy_ints = [&](int* to) { std::copy(ints.begin(), ints.end(), to); };
    switch (key) {
      case AttributeKey::strides:
        return copy_ints(a.strides);
      case AttributeKey::pads:
        return copy_ints(a.pads);
      case AttributeKey::dilations:
        return copy_ints(a.dilations);
      case AttributeKey::groups:
        return copy_ints(&a.groups);
      case AttributeKey::activation:
        a.activation.kind = static_cast<ActivationKind>(ints[0]);
        return;
      case AttributeKey::activation_params:
        a.activation.alpha = floats[0];
        a.activation.beta = floats[1];
        return;
      case AttributeKey::intermediate_scale:
        if (!(floats[0] > 0.0f)) fail(kInvalid, what, ": expected a scale above 0, found ", floats[0]);
        a.has_intermediate = true;
        a.intermediate.scale = floats[0];
        return;
      case AttributeKey::intermediate_zero_point:
        a.intermediate.zero_point = ints[0];
        return;
      case AttributeKey::kernel_shape:
        return copy_ints(a.kernel_shape);
      case AttributeKey::count_include_pad:
        a.count_include_pad = ints[0] != 0;
        return;
      case AttributeKey::axis:
        return copy_ints(&a.axis);
      case AttributeKey::perm:
        a.perm = std::move(ints);
        return;
      case AttributeKey::starts:
        a.starts = std::move(ints);
        return;
      case AttributeKey::steps:
        a.steps = std::move(ints);
        return;
      case AttributeKey::function:
        return copy_ints(&a.function);
      case AttributeKey::mode:
        return copy_ints(&a.mode);
      case AttributeKey::coordinates:
        return copy_ints(&a.coordinates);
      case AttributeKey::nearest_mode:
        return copy_ints(&a.nearest_mode);
      case AttributeKey::scales:
        std::copy(floats, floats + 2, a.scales);
        return;
      case AttributeKey::value:
        a.value = floats[0];
        return;
      case AttributeKey::axes:
        a.axes = std::move(ints);
        return;
      case AttributeKey::before:
        a.before = std::move(ints);
        return;
      case AttributeKey::cubic_coeff:
        a.cubic_coeff = floats[0];
        return;
      case AttributeKey::reduction:
        return copy_ints(&a.reduction);
      case AttributeKey::largest:
        a.largest = ints[0] != 0;
        return;
      case AttributeKey::select_last:
        a.select_last = ints[0] != 0;
        return;
      case AttributeKey::batch_dims:
        return copy_ints(&a.batch_dims);
      case AttributeKey::scatter_reduction:
        return copy_ints(&a.scatter_reduction);
      case AttributeKey::epsilon:
        a.epsilon = floats[0];
        return;
      case AttributeKey::max_per_class:
        return copy_ints(&a.max_per_class);
      case AttributeKey::iou_threshold:
        a.iou_threshold = floats[0];
        return;
      case AttributeKey::score_threshold:
        a.has_score_threshold = true;
        a.score_threshold = floats[0];
        return;
      case AttributeKey::center_point_box:
        a.center_point_box = ints[0] != 0;
        return;
      case AttributeKey::sampling_ratio:
        return copy_ints(&a.sampling_ratio);
      case AttributeKey::spatial_scale:
        a.spatial_scale = floats[0];
        return;
    }
  }

  // Execution order, one writer for each tensor, and the rules of each op.
  void check_data_flow() {
    std::vector<bool> ready(model_.tensors.size());
    for (size_t i = 0; i < ready.size(); ++i) {
      const Tensor& t = model_.tensors[i];
      ready[i] = t.constant() || t.kind == TensorKind::input || t.elements() == 0;
    }
    for (size_t i = 0; i < model_.steps.size(); ++i) {
      const Step& step = model_.steps[i];
      const std::string what = message("step ", i, " ", quoted(step.name), " (", op_name(step.op), ")");
      for (const int input : step.inputs) {
        if (input != kAbsent && !ready[static_cast<size_t>(input)]) {
          fail(kInvalid, what, ": reads ", quoted(model_.tensors[static_cast<size_t>(input)].name),
               " before a step has written it");
        }
      }
      const Tensor& output = model_.tensors[static_cast<size_t>(step.output)];
      if (output.constant() || output.kind == TensorKind::input) {
        fail(kInvalid, what, ": expected to write an intermediate or an output, found ", quoted(output.name));
      }
      if (ready[static_cast<size_t>(step.output)])
        fail(kInvalid, what, ": writes ", quoted(output.name), ", which an earlier step has written");
      ready[static_cast<size_t>(step.output)] = true;
      try {
        check_step(model_, step);
      } catch (const Error& error) {
        throw Error(error.code(), what + ": " + error.what());
      }
    }
    for (size_t i = 0; i < ready.size(); ++i) {
      if (!ready[i]) fail(kInvalid, "tensor ", i, " ", quoted(model_.tensors[i].name), " is written by no step");
    }
  }

  // ---- golden frame and data ----

  void read_golden() {
    const size_t count = s_.golden.records(kGoldenBytes);
    const size_t expected = model_.inputs.size() + model_.outputs.size();
    if (count != 0 && count != expected) {
      fail(kInvalid, "expected a golden frame of ", expected, " records, one for each input and output, or none, found ", count);
    }
    std::vector<bool> seen(model_.tensors.size());
    for (size_t i = 0; i < count; ++i) {
      const size_t at = i * kGoldenBytes;
      const auto index = s_.golden.read<uint32_t>(at);
      const std::string what = message("golden record ", i);
      const auto rule = s_.golden.read<uint32_t>(at + 4);
      if (index >= model_.tensors.size())
        fail(kInvalid, what, ": expected a tensor index below ", model_.tensors.size(), ", found ", index);
      const Tensor& t = model_.tensors[index];
      if (t.kind != TensorKind::input && t.kind != TensorKind::output) {
        fail(kInvalid, what, ": expected an input or an output, found ", quoted(t.name));
      }
      if (seen[index]) fail(kInvalid, what, ": ", quoted(t.name), " stands twice");
      seen[index] = true;
      const auto last_rule = static_cast<uint32_t>(t.kind == TensorKind::output ? GoldenRule::rounded : GoldenRule::same);
      if (rule > last_rule) fail(kInvalid, what, ": expected a rule from 0 to ", last_rule, ", found ", rule);
      const auto offset = s_.golden.read<uint64_t>(at + 8);
      const auto bytes = s_.golden.read<uint64_t>(at + 16);
      const auto expected_bytes = static_cast<uint64_t>(t.elements()) * dtype_bytes(t.dtype);
      if (bytes != expected_bytes)
        fail(kInvalid, what, ": expected ", expected_bytes, " bytes for ", quoted(t.name), ", found ", bytes);
      if (offset % kAlignment != 0) fail(kInvalid, what, ": expected its data at a multiple of 64, found offset ", offset);
      model_.golden.push_back({static_cast<int>(index), static_cast<GoldenRule>(rule), s_.data.range(offset, bytes, what)});
      claims_.push_back({offset, bytes, what});
    }
  }

  void check_data_ranges() {
    std::sort(claims_.begin(), claims_.end(), [](const Claim& a, const Claim& b) { return a.offset < b.offset; });
    for (size_t i = 1; i < claims_.size(); ++i) {
      const Claim &before = claims_[i - 1], &claim = claims_[i];
      if (claim.offset - before.offset < before.bytes) fail(kInvalid, claim.what, ": its data overlaps that of ", before.what);
    }
  }

  Model& model_;
  const Sections& s_;
  size_t io_count_ = 0, attribute_count_ = 0;
  size_t constant_bytes_ = 0;  // of all constants so far, zero blocks written out
  std::vector<Claim> claims_;
};

// ---- files ----

class File {
 public:
  // Not blocking, so that a pipe with nobody at its other end is refused rather than waited for.
  explicit File(const std::string& path) : descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
    if (descriptor_ < 0) fail_with_errno();
  }
  ~File() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  uint64_t size() const {
    struct stat info = {};
    if (::fstat(descriptor_, &info) != 0) fail_with_errno();
    if (!S_ISREG(info.st_mode)) fail(StatusCode::not_found, "cannot read it: expected a file, found a directory or a device");
    return static_cast<uint64_t>(info.st_size);
  }

  // Fewer bytes than asked for only at the end of the file.
  size_t read(uint8_t* to, size_t bytes) {
    size_t done = 0;
    while (done < bytes) {
      const ssize_t got = ::read(descriptor_, to + done, bytes - done);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) fail_with_errno();
      if (got == 0) break;
      done += static_cast<size_t>(got);
    }
    return done;
  }

 private:
  [[noreturn]] void fail_with_errno() const {
    const int error = errno;
    if (error == ENOENT) fail(StatusCode::not_found, "there is no such file");
    fail(StatusCode::not_found, "cannot read it: ", std::strerror(error));
  }
  int descriptor_;
};

// The whole file is copied rather than mapped: a mapping would change under the checks when somebody writes to the file.
AlignedBuffer<uint8_t> read_file(const std::string& path, const Limits& limits) {
  File file(path);
  const uint64_t size = file.size();
  uint8_t head[kHeaderBytes];
  const size_t head_bytes = file.read(head, sizeof(head));
  check_preamble(Span<const uint8_t>(head, head_bytes), size);  // before a large file of another kind is read
  if (size > limits.memory_bytes) fail(kInvalid, "expected a file of at most ", limits.memory_bytes, " bytes, found ", size);
  AlignedBuffer<uint8_t> bytes(static_cast<size_t>(size), kUninitialized);
  std::memcpy(bytes.data(), head, head_bytes);
  const size_t total = head_bytes + file.read(bytes.data() + head_bytes, bytes.size() - head_bytes);
  if (total != size) fail(kInvalid, "the file is cut off: expected ", size, " bytes, found ", total);
  return bytes;
}

}  // namespace

Model parse_model(AlignedBuffer<uint8_t> file, const std::string& name, const Limits& limits) {
  Model model;
  model.limits = limits;
  model.file = std::move(file);
  try {
    const Sections sections = read_header(Span<const uint8_t>(model.file.data(), model.file.size()));
    Parser(model, sections).parse();
  } catch (const Error& error) {
    throw Error(error.code(), name + ": " + error.what());
  }
  return model;
}

Model load_model(const std::string& path, const Limits& limits) {
  AlignedBuffer<uint8_t> file;
  try {
    file = read_file(path, limits);
  } catch (const Error& error) {
    throw Error(error.code(), path + ": " + error.what());
  }
  return parse_model(std::move(file), path, limits);
}

}  // namespace edgelane
