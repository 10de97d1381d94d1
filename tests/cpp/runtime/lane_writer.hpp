// Writes .lane files for tests, from records that a test can bend before they are written. Independent of the reader: both follow
// export/FORMAT.md.
#pragma once

#include <cstdint>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "core/aligned_buffer.hpp"
#include "core/sha256.hpp"
#include "formats/tensor.hpp"
#include "runtime/op_table.hpp"

namespace edgelane::testing {

struct TensorRecord {
  uint32_t name_offset = 0, name_length = 0;
  uint8_t dtype = 0, kind = 0, rank = 0, encoding = 0;
  uint32_t dims[6] = {};
  uint32_t scale_count = 0, first_scale = 0;
  int32_t zero_point = 0;
  uint64_t data_offset = 0, data_bytes = 0;
  uint16_t block_oc = 0, block_ic = 0;
  uint32_t nonzero_blocks = 0;
  uint8_t reserved[24] = {};
};
static_assert(sizeof(TensorRecord) == 96);

struct StepRecord {
  uint32_t name_offset = 0, name_length = 0;
  uint16_t op = 0;
  uint8_t input_count = 0, output_count = 1;
  uint32_t first_io = 0, first_attribute = 0, attribute_count = 0;
  uint8_t reserved[8] = {};
};
static_assert(sizeof(StepRecord) == 32);

struct AttributeRecord {
  uint16_t key = 0, type = 0;
  uint32_t count = 0, first = 0, reserved = 0;
};
static_assert(sizeof(AttributeRecord) == 16);

struct GoldenRecord {
  uint32_t tensor = 0, rule = 0;
  uint64_t data_offset = 0, data_bytes = 0;
};
static_assert(sizeof(GoldenRecord) == 24);

constexpr uint32_t kAbsentInput = 0xFFFFFFFF;

// One attribute: ints or floats.
struct Attribute {
  AttributeKey key;
  std::vector<int64_t> ints;
  std::vector<double> floats;
};

// Shorthand for the two kinds.
inline Attribute ints(AttributeKey key, std::vector<int64_t> values) { return {key, std::move(values), {}}; }
inline Attribute floats(AttributeKey key, std::vector<double> values) { return {key, {}, std::move(values)}; }

// Writes the checksum of a file that was changed.
inline void reseal(AlignedBuffer<uint8_t>& file) {
  const Sha256Digest digest = sha256(file.data() + 56, file.size() - 56);
  std::memcpy(file.data() + 24, digest.data(), digest.size());
}

class LaneWriter {
 public:
  using Dims = std::vector<uint32_t>;

  std::string strings, metadata = "{}";
  std::vector<TensorRecord> tensors;
  std::vector<StepRecord> steps;
  std::vector<uint32_t> io;
  std::vector<AttributeRecord> attributes;
  std::vector<uint64_t> cells;
  std::vector<GoldenRecord> golden;
  std::vector<uint8_t> data;

  uint32_t input(const std::string& name, DType dtype, const Dims& dims, float scale = 0, int zero_point = 0) {
    return tensor(name, dtype, 2, dims, scale, zero_point);
  }
  uint32_t output(const std::string& name, DType dtype, const Dims& dims, float scale = 0, int zero_point = 0) {
    return tensor(name, dtype, 3, dims, scale, zero_point);
  }
  uint32_t intermediate(const std::string& name, DType dtype, const Dims& dims, float scale = 0, int zero_point = 0) {
    return tensor(name, dtype, 0, dims, scale, zero_point);
  }

  template <class T>
  uint32_t constant(const std::string& name, const Dims& dims, const std::vector<T>& values,
                    const std::vector<float>& scales = {}) {
    const uint32_t index = tensor(name, dtype_of(T{}), 1, dims, 0, 0);
    TensorRecord& t = tensors[index];
    t.data_bytes = values.size() * sizeof(T);
    t.data_offset = add_data(values.data(), t.data_bytes);
    t.scale_count = static_cast<uint32_t>(scales.size());
    t.first_scale = static_cast<uint32_t>(cells.size());
    for (const float scale : scales) add_cell(static_cast<double>(scale));
    return index;
  }

  // The same weights [oc][ic][taps], block-sparse.
  template <class T>
  uint32_t sparse_constant(const std::string& name, const Dims& dims, const std::vector<T>& dense, int block_oc, int block_ic,
                           const std::vector<float>& scales = {}) {
    const uint32_t index = constant<T>(name, dims, {}, scales);
    const int oc = static_cast<int>(dims[0]), ic = static_cast<int>(dims[1]);
    const int taps = dims.size() == 4 ? static_cast<int>(dims[2] * dims[3]) : 1;
    std::vector<uint8_t> mask;
    std::vector<T> blocks;
    uint32_t bit = 0, nonzero = 0;
    for (int o0 = 0; o0 < oc; o0 += block_oc) {
      for (int tap = 0; tap < taps; ++tap) {
        for (int i0 = 0; i0 < ic; i0 += block_ic, ++bit) {
          if (bit % 64 == 0) mask.resize(mask.size() + 8);
          std::vector<T> block;
          bool any = false;
          for (int o = o0; o < o0 + block_oc; ++o) {
            for (int i = i0; i < i0 + block_ic; ++i) {
              const T value = o < oc && i < ic ? dense[static_cast<size_t>((o * ic + i) * taps + tap)] : T{0};
              any = any || value != T{0};
              block.push_back(value);
            }
          }
          if (!any) continue;
          mask[bit / 8] = static_cast<uint8_t>(mask[bit / 8] | 1u << bit % 8);
          blocks.insert(blocks.end(), block.begin(), block.end());
          ++nonzero;
        }
      }
    }
    std::vector<uint8_t> bytes(mask);
    const auto* values = reinterpret_cast<const uint8_t*>(blocks.data());
    bytes.insert(bytes.end(), values, values + blocks.size() * sizeof(T));
    TensorRecord& t = tensors[index];
    t.encoding = 1;
    t.data_offset = add_data(bytes.data(), bytes.size());
    t.data_bytes = bytes.size();
    t.block_oc = static_cast<uint16_t>(block_oc);
    t.block_ic = static_cast<uint16_t>(block_ic);
    t.nonzero_blocks = nonzero;
    return index;
  }

  void step(const std::string& name, Op op, const std::vector<uint32_t>& inputs, uint32_t output,
            const std::vector<Attribute>& step_attributes = {}) {
    StepRecord s;
    s.name_offset = add_string(name);
    s.name_length = static_cast<uint32_t>(name.size());
    s.op = static_cast<uint16_t>(op);
    s.input_count = static_cast<uint8_t>(inputs.size());
    s.first_io = static_cast<uint32_t>(io.size());
    io.insert(io.end(), inputs.begin(), inputs.end());
    io.push_back(output);
    s.first_attribute = static_cast<uint32_t>(attributes.size());
    s.attribute_count = static_cast<uint32_t>(step_attributes.size());
    for (const Attribute& a : step_attributes) {
      AttributeRecord record;
      record.key = static_cast<uint16_t>(a.key);
      record.type = a.floats.empty() ? 0 : 1;
      record.count = static_cast<uint32_t>(a.ints.size() + a.floats.size());
      record.first = static_cast<uint32_t>(cells.size());
      for (const int64_t value : a.ints) add_cell(value);
      for (const double value : a.floats) add_cell(value);
      attributes.push_back(record);
    }
    steps.push_back(s);
  }

  template <class T>
  void golden_value(uint32_t tensor_index, const std::vector<T>& values) {
    GoldenRecord record;
    record.tensor = tensor_index;
    record.data_bytes = values.size() * sizeof(T);
    record.data_offset = add_data(values.data(), record.data_bytes);
    golden.push_back(record);
  }

  AlignedBuffer<uint8_t> file() const {
    struct Part {
      const void* data;
      size_t bytes;
    };
    const Part parts[9] = {{strings.data(), strings.size()},
                           {tensors.data(), tensors.size() * sizeof(TensorRecord)},
                           {steps.data(), steps.size() * sizeof(StepRecord)},
                           {io.data(), io.size() * 4},
                           {attributes.data(), attributes.size() * sizeof(AttributeRecord)},
                           {cells.data(), cells.size() * 8},
                           {metadata.data(), metadata.size()},
                           {golden.data(), golden.size() * sizeof(GoldenRecord)},
                           {data.data(), data.size()}};
    uint64_t offsets[9], end = 192;
    for (size_t i = 0; i < 9; ++i) {
      offsets[i] = align_up(end);
      end = offsets[i] + parts[i].bytes;
    }
    AlignedBuffer<uint8_t> out(end);
    const auto put = [&](size_t at, auto value) { std::memcpy(out.data() + at, &value, sizeof(value)); };
    std::memcpy(out.data(), "\x89LANE\r\n\x1a", 8);
    put(8, uint32_t{2});
    put(12, uint32_t{192});
    put(16, uint64_t{end});
    for (size_t i = 0; i < 8; ++i) {
      put(56 + 16 * i, offsets[i]);
      put(64 + 16 * i, uint64_t{parts[i].bytes});
    }
    put(184, offsets[8]);
    for (size_t i = 0; i < 9; ++i) {
      if (parts[i].bytes != 0) std::memcpy(out.data() + offsets[i], parts[i].data, parts[i].bytes);
    }
    reseal(out);
    return out;
  }

  uint32_t add_cell(double value) { return add_cell_bits(value); }
  uint32_t add_cell(int64_t value) { return add_cell_bits(value); }

 private:
  static DType dtype_of(float) { return DType::float32; }
  static DType dtype_of(int8_t) { return DType::int8; }
  static DType dtype_of(int32_t) { return DType::int32; }
  static DType dtype_of(int64_t) { return DType::int64; }
  static DType dtype_of(uint8_t) { return DType::boolean; }

  uint32_t tensor(const std::string& name, DType dtype, uint8_t kind, const Dims& dims, float scale, int zero_point) {
    TensorRecord t;
    t.name_offset = add_string(name);
    t.name_length = static_cast<uint32_t>(name.size());
    t.dtype = static_cast<uint8_t>(dtype);
    t.kind = kind;
    t.rank = static_cast<uint8_t>(dims.size());
    for (size_t i = 0; i < dims.size() && i < 6; ++i) t.dims[i] = dims[i];
    if (scale != 0) {
      t.scale_count = 1;
      t.first_scale = add_cell(static_cast<double>(scale));
      t.zero_point = zero_point;
    }
    tensors.push_back(t);
    return static_cast<uint32_t>(tensors.size() - 1);
  }

  uint32_t add_string(const std::string& text) {
    strings += text;
    return static_cast<uint32_t>(strings.size() - text.size());
  }

  template <class T>
  uint32_t add_cell_bits(T value) {
    uint64_t bits;
    static_assert(sizeof(bits) == sizeof(value));
    std::memcpy(&bits, &value, sizeof(bits));
    cells.push_back(bits);
    return static_cast<uint32_t>(cells.size() - 1);
  }

  uint64_t add_data(const void* bytes, size_t count) {
    const size_t offset = align_up(data.size());
    data.resize(offset + count);
    if (count != 0) std::memcpy(data.data() + offset, bytes, count);
    return offset;
  }
};

}  // namespace edgelane::testing
