// Changes .lane files so that they stay close to files that load: records are read, bent, and written with sizes and a checksum
// that are right, so that the fuzzer spends its time behind the first checks. It knows records, not operators: what the tests'
// writer can write is mutated like the rest.
#pragma once

#include <algorithm>
#include <cstring>
#include <random>

#include "runtime/lane_writer.hpp"

namespace edgelane::testing {

class LaneMutator {
 public:
  explicit LaneMutator(uint32_t seed) : random_(seed) {}

  uint32_t below(size_t n) { return n == 0 ? 0 : static_cast<uint32_t>(random_() % n); }
  bool one_in(uint32_t n) { return below(n) == 0; }

  // Reads what the sections hold, as far as they lie inside the file. False where there is no header.
  static bool read(const uint8_t* data, size_t size, LaneWriter& w) {
    if (size < 192) return false;
    uint64_t bounds[17];
    std::memcpy(bounds, data + 56, sizeof(bounds));
    const auto section = [&](size_t i) {
      const uint64_t offset = std::min<uint64_t>(bounds[2 * i], size);
      const uint64_t bytes = i == 8 ? size - offset : std::min<uint64_t>(bounds[2 * i + 1], size - offset);
      return std::pair<const uint8_t*, size_t>(data + offset, static_cast<size_t>(bytes));
    };
    const auto text = [&](size_t i) { return std::string(reinterpret_cast<const char*>(section(i).first), section(i).second); };
    w.strings = text(0);
    w.metadata = text(6);
    copy(section(1), w.tensors);
    copy(section(2), w.steps);
    copy(section(3), w.io);
    copy(section(4), w.attributes);
    copy(section(5), w.cells);
    copy(section(7), w.golden);
    copy(section(8), w.data);
    return true;
  }

  void mutate(LaneWriter& w) {
    for (uint32_t changes = 1 + below(4); changes > 0; --changes) change(w);
    if (!one_in(4)) fit_windows(w);
    if (!one_in(4)) fit_constants(w);
  }

  // Adds the tensors and steps of another file, with the indices that they have here.
  void append(LaneWriter& w, const LaneWriter& other) {
    const auto names = static_cast<uint32_t>(w.strings.size()), tensors = static_cast<uint32_t>(w.tensors.size()),
               cells = static_cast<uint32_t>(w.cells.size()), io = static_cast<uint32_t>(w.io.size()),
               attributes = static_cast<uint32_t>(w.attributes.size());
    w.data.resize(align_up(w.data.size()));
    const uint64_t data = w.data.size();
    w.strings += other.strings;
    for (TensorRecord t : other.tensors) {
      const std::string name = std::to_string(w.tensors.size());
      t.name_offset = static_cast<uint32_t>(w.strings.size());  // names are unique in a file
      t.name_length = static_cast<uint32_t>(name.size());
      w.strings += name;
      t.first_scale += cells;
      t.data_offset += t.kind == 1 ? data : 0;
      w.tensors.push_back(t);
    }
    for (StepRecord s : other.steps) {
      s.name_offset += names;
      s.first_io += io;
      s.first_attribute += attributes;
      w.steps.push_back(s);
    }
    for (const uint32_t index : other.io) w.io.push_back(index == kAbsentInput ? index : index + tensors);
    for (AttributeRecord a : other.attributes) {
      a.first += cells;
      w.attributes.push_back(a);
    }
    w.cells.insert(w.cells.end(), other.cells.begin(), other.cells.end());
    w.data.insert(w.data.end(), other.data.begin(), other.data.end());
    w.golden.clear();
  }

 private:
  template <class T>
  static void copy(std::pair<const uint8_t*, size_t> bytes, std::vector<T>& to) {
    to.resize(bytes.second / sizeof(T));
    if (!to.empty()) std::memcpy(to.data(), bytes.first, to.size() * sizeof(T));
  }

  template <class T>
  T& any(std::vector<T>& of) {
    return of[below(of.size())];
  }

  uint32_t size() {
    constexpr uint32_t kSizes[] = {0,   31,  32,  33,   63,   64,    65,    127,     128,        129,
                                   255, 256, 257, 1000, 4096, 65535, 65536, 1 << 20, 0x7FFFFFFF, 0xFFFFFFFF};
    return one_in(6) ? kSizes[below(sizeof(kSizes) / sizeof(kSizes[0]))] : 1 + below(19);
  }

  uint64_t cell() {
    double real = static_cast<double>(static_cast<float>(random_()) / 4294967296.0f * 4.0f - 2.0f);
    int64_t integer = static_cast<int64_t>(below(24)) - (one_in(3) ? 12 : 0);
    constexpr double kReals[] = {0.0, -0.0, 1.0, -1.0, 0.5, 2.0, 1e-45, 1e38, -1e38, 1e300, 65536.0};
    if (one_in(3)) real = kReals[below(sizeof(kReals) / sizeof(kReals[0]))];
    if (one_in(8)) integer = static_cast<int64_t>(static_cast<int32_t>(size()));
    uint64_t bits;
    if (one_in(2)) {
      std::memcpy(&bits, &real, sizeof(bits));
    } else {
      std::memcpy(&bits, &integer, sizeof(bits));
    }
    return bits;
  }

  void change(LaneWriter& w) {
    switch (below(14)) {
      case 0:
      case 1:
        if (!w.tensors.empty()) change_everywhere(w);
        break;
      case 2:
      case 3:
        if (!w.tensors.empty()) change_tensor(w);
        break;
      case 4:
      case 5:
        if (!w.steps.empty()) change_step(w);
        break;
      case 6:
        if (!w.io.empty()) any(w.io) = one_in(8) ? kAbsentInput : below(w.tensors.size());
        break;
      case 7:
      case 8:
        if (!w.attributes.empty() && !w.cells.empty()) {
          const AttributeRecord& a = any(w.attributes);
          w.cells[(a.first + below(std::max(1u, a.count))) % w.cells.size()] = cell();
        }
        break;
      case 9:
        if (!w.attributes.empty()) change_attribute(w);
        break;
      case 10:
        if (!w.cells.empty()) any(w.cells) = cell();
        break;
      case 11:
        change_data(w);
        break;
      case 12:
        if (w.tensors.size() > 1) {  // the shape or the type of another tensor
          TensorRecord &a = any(w.tensors), &b = any(w.tensors);
          if (one_in(2)) {
            std::copy(std::begin(b.dims), std::end(b.dims), a.dims);
            a.rank = b.rank;
          } else {
            a.dtype = b.dtype;
          }
        }
        break;
      default:
        if (!w.golden.empty()) {
          GoldenRecord& g = any(w.golden);
          if (one_in(2)) {
            g.tensor = below(w.tensors.size() + 1);
          } else {
            g.data_bytes = size();
          }
        } else if (!w.strings.empty()) {
          any_char(w.strings) = static_cast<char>(random_());
        }
    }
  }

  char& any_char(std::string& text) { return text[below(text.size())]; }

  // One size becomes another wherever it stands, or the type of all tensors that share it.
  void change_everywhere(LaneWriter& w) {
    const TensorRecord chosen = any(w.tensors);
    if (one_in(4)) {
      const auto dtype = static_cast<uint8_t>(below(6));
      for (TensorRecord& t : w.tensors) {
        if (t.dtype == chosen.dtype) t.dtype = dtype;
      }
      return;
    }
    const uint32_t from = chosen.dims[below(std::max<size_t>(1, chosen.rank)) % 6], to = size();
    for (TensorRecord& t : w.tensors) {
      for (int i = 0; i < t.rank && i < 6; ++i) {
        if (t.dims[i] == from) t.dims[i] = to;
      }
    }
  }

  void change_tensor(LaneWriter& w) {
    TensorRecord& t = any(w.tensors);
    switch (below(12)) {
      case 0:
        t.dtype = static_cast<uint8_t>(below(7));
        break;
      case 1:
        t.kind = static_cast<uint8_t>(below(4));
        break;
      case 2:
        t.rank = static_cast<uint8_t>(below(7));
        for (int i = 0; i < 6; ++i) t.dims[i] = i < t.rank ? std::max(1u, t.dims[i]) : 0;
        break;
      case 3:
        std::swap(t.dims[below(std::max<size_t>(1, t.rank)) % 6], t.dims[below(std::max<size_t>(1, t.rank)) % 6]);
        break;
      case 4:
        t.scale_count = one_in(2) ? t.dims[0] : below(3);
        break;
      case 5:
        t.first_scale = below(w.cells.size() + 1);
        break;
      case 6:
        t.zero_point = static_cast<int32_t>(below(258)) - 129;
        break;
      case 7:
        t.encoding = static_cast<uint8_t>(below(2));
        t.block_oc = static_cast<uint16_t>(t.encoding != 0 ? 1 + below(8) : 0);
        t.block_ic = static_cast<uint16_t>(t.encoding != 0 ? 1 + below(8) : 0);
        break;
      case 8:
        t.nonzero_blocks = size();
        break;
      case 9:
        t.data_offset = one_in(4) ? size() : 64 * below(w.data.size() / 64 + 1);
        break;
      case 10:
        t.data_bytes = size();
        break;
      default:
        t.dims[below(std::max<size_t>(1, t.rank)) % 6] = size();
    }
  }

  void change_step(LaneWriter& w) {
    StepRecord& s = any(w.steps);
    switch (below(7)) {
      case 0:
        s.op = static_cast<uint16_t>(1 + below(static_cast<size_t>(kOps) + 1));
        break;
      case 1:
        s.input_count = static_cast<uint8_t>(s.input_count + below(3) - 1);
        break;
      case 2:
        s.first_io = below(w.io.size() + 1);
        break;
      case 3:
        s.first_attribute = below(w.attributes.size() + 1);
        break;
      case 4:
        s.attribute_count = below(6);
        break;
      case 5:
        std::swap(s, any(w.steps));
        break;
      default: {  // as this one, on another input, to a new tensor
        StepRecord twin = s;
        twin.first_io = static_cast<uint32_t>(w.io.size());
        if (w.tensors.empty() || size_t{s.first_io} + s.input_count >= w.io.size()) return;
        for (uint32_t i = 0; i <= s.input_count; ++i) w.io.push_back(w.io[s.first_io + i]);
        const uint32_t output = w.io.back() % static_cast<uint32_t>(w.tensors.size());
        TensorRecord t = w.tensors[output];
        const std::string name = "t" + std::to_string(w.tensors.size());
        t.name_offset = static_cast<uint32_t>(w.strings.size());
        t.name_length = static_cast<uint32_t>(name.size());
        w.strings += name;
        w.io.back() = static_cast<uint32_t>(w.tensors.size());
        if (one_in(2)) w.io[twin.first_io] = output;
        w.tensors.push_back(t);
        w.steps.push_back(twin);
      }
    }
  }

  void change_attribute(LaneWriter& w) {
    AttributeRecord& a = any(w.attributes);
    switch (below(5)) {
      case 0:
        a.key = static_cast<uint16_t>(below(static_cast<size_t>(kAttributeKeys) + 2));
        break;
      case 1:
        a.type ^= 1;
        break;
      case 2:
        a.count = below(8);
        break;
      case 3:
        a.first = below(w.cells.size() + 1);
        break;
      default:  // its numbers are written anew behind the others, so that no other attribute changes with them
        if (w.cells.empty() || a.count > 8) return;
        for (uint32_t i = 0; i < a.count; ++i) w.cells.push_back(w.cells[(a.first + i) % w.cells.size()]);
        a.first = static_cast<uint32_t>(w.cells.size()) - a.count;
        if (a.count > 0) w.cells[a.first + below(a.count)] = cell();
    }
  }

  void change_data(LaneWriter& w) {
    if (w.data.empty()) return;
    constexpr uint32_t kWords[] = {0,          0x7F800000, 0xFF800000, 0x7FC00000, 0x7F7FFFFF,
                                   0x00000001, 0x80000000, 0xFFFFFFFF, 0x3F800000};
    for (uint32_t count = 1 + below(4); count > 0; --count) {
      const size_t at = below(w.data.size()) & ~size_t{3};
      if (at + 4 > w.data.size()) continue;
      const uint32_t word = one_in(2)   ? kWords[below(sizeof(kWords) / sizeof(kWords[0]))]
                            : one_in(2) ? below(16)
                                        : static_cast<uint32_t>(random_());
      std::memcpy(w.data.data() + at, &word, 4);
    }
  }

  // Dense constants get as many bytes and scales as their shapes say, where they are small.
  void fit_constants(LaneWriter& w) {
    constexpr uint64_t kLargest = 1 << 14;
    for (TensorRecord& t : w.tensors) {
      if (t.kind != 1 || t.encoding != 0 || t.rank > 6 || t.dtype > 5) continue;
      uint64_t bytes = dtype_bytes(static_cast<DType>(t.dtype));
      for (int i = 0; i < t.rank && bytes <= kLargest; ++i) bytes *= t.dims[i];
      if (bytes > kLargest || bytes == t.data_bytes) continue;
      const size_t from = static_cast<size_t>(t.data_offset), old = w.data.size();
      if (bytes > t.data_bytes) {
        t.data_offset = align_up(w.data.size());
        w.data.resize(t.data_offset + bytes);
        for (size_t i = 0; i < bytes && old > 0; ++i) w.data[t.data_offset + i] = w.data[(from + i) % old];
      }
      t.data_bytes = bytes;
      if (t.scale_count > 1 && t.scale_count != t.dims[0] && t.dims[0] <= 4096) {
        const float scale = 0.01f;
        t.scale_count = t.dims[0];
        t.first_scale = static_cast<uint32_t>(w.cells.size());
        for (uint32_t i = 0; i < t.scale_count; ++i) w.add_cell(static_cast<double>(scale));
      }
    }
  }

  // Outputs of windows get the height and width that strides, pads and dilations make.
  void fit_windows(LaneWriter& w) {
    for (const StepRecord& s : w.steps) {
      const bool conv = s.op == static_cast<uint16_t>(Op::conv2d);
      const bool pool = s.op == static_cast<uint16_t>(Op::max_pool2d) || s.op == static_cast<uint16_t>(Op::average_pool2d);
      if ((!conv && !pool) || s.input_count < (conv ? 2 : 1) || s.first_io + size_t{s.input_count} >= w.io.size()) continue;
      const uint32_t xi = w.io[s.first_io], wi = w.io[s.first_io + 1], yi = w.io[s.first_io + s.input_count];
      if (xi >= w.tensors.size() || yi >= w.tensors.size() || (conv && wi >= w.tensors.size())) continue;
      int64_t strides[2] = {1, 1}, dilations[2] = {1, 1}, pads[4] = {}, kernel[2] = {1, 1};
      const auto fill = [&](const AttributeRecord& a, int64_t* to, uint32_t count) {
        for (uint32_t i = 0; i < count && a.count == count && a.first + uint64_t{i} < w.cells.size(); ++i)
          std::memcpy(to + i, &w.cells[a.first + i], 8);
      };
      for (uint32_t i = 0; i < s.attribute_count && s.first_attribute + uint64_t{i} < w.attributes.size(); ++i) {
        const AttributeRecord& a = w.attributes[s.first_attribute + i];
        if (a.key == static_cast<uint16_t>(AttributeKey::strides)) fill(a, strides, 2);
        if (a.key == static_cast<uint16_t>(AttributeKey::dilations)) fill(a, dilations, 2);
        if (a.key == static_cast<uint16_t>(AttributeKey::pads)) fill(a, pads, 4);
        if (a.key == static_cast<uint16_t>(AttributeKey::kernel_shape)) fill(a, kernel, 2);
      }
      for (int i = 0; i < 2; ++i) {
        const int64_t k = conv ? w.tensors[wi].dims[2 + i] : kernel[i];
        constexpr int64_t kSane = 1 << 20;
        if (strides[i] < 1 || strides[i] > kSane || dilations[i] < 1 || dilations[i] > kSane || k < 1 || k > kSane ||
            pads[i] < 0 || pads[i] > kSane || pads[2 + i] < 0 || pads[2 + i] > kSane)
          continue;
        const int64_t free = w.tensors[xi].dims[2 + i] + pads[i] + pads[2 + i] - (dilations[i] * (k - 1) + 1);
        if (free >= 0) w.tensors[yi].dims[2 + i] = static_cast<uint32_t>(free / strides[i] + 1);
      }
    }
  }

  std::mt19937 random_;
};

}  // namespace edgelane::testing
