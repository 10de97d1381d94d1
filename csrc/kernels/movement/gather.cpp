#include "kernels/movement/gather.hpp"

#include <algorithm>
#include <cstring>

#include "core/aligned_buffer.hpp"
#include "core/status.hpp"
#include "kernels/border.hpp"
#include "kernels/check.hpp"
#include "kernels/convert/requantizer.hpp"
#include "kernels/function_kernel.hpp"
#include "kernels/movement/boxes.hpp"
#include "kernels/movement/quads.hpp"
#include "kernels/offsets.hpp"
#include "kernels/split.hpp"

namespace edgelane {

GatherProblem GatherProblem::identity(Span<const TensorDesc> inputs, const TensorDesc& output) {
  int64_t entries = 0;
  for (int a = 0; a < output.rank; ++a) entries += output.dims[a];
  check_tables("data movement", entries * static_cast<int64_t>(inputs.size() * sizeof(int64_t)));
  GatherProblem p;
  p.inputs.assign(inputs.begin(), inputs.end());
  p.output = output;
  for (int a = 0; a < output.rank; ++a) {
    p.index[a].resize(output.dims[a]);
    for (int i = 0; i < output.dims[a]; ++i) p.index[a][i] = i;
  }
  return p;
}

namespace {

// Nothing but int8 is requantised.
Requantizer requantizer(const TensorDesc& from, const TensorDesc& to, Isa isa) {
  return from.int8() ? Requantizer(from.quant, to.quant, isa) : Requantizer({}, {}, isa);
}

uint64_t fill_bits(const TensorDesc& t, float value) {
  uint64_t bits = 0;
  switch (t.dtype) {
    case DType::float32:
      std::memcpy(&bits, &value, sizeof value);
      return bits;
    case DType::int8:
      return static_cast<uint8_t>(quantize(value, t.quant) + kActivationBias);
    case DType::boolean:
      return value != 0.0f ? 1 : 0;
    default:  // towards zero, to the nearest end of int64 at most; narrower integers keep the low bits
      if (!(value >= -0x1p63f)) return uint64_t{1} << 63;
      return value < 0x1p63f ? static_cast<uint64_t>(static_cast<int64_t>(value)) : INT64_MAX;
  }
}

bool consecutive(const std::vector<int>& index) {
  for (size_t i = 0; i < index.size(); ++i) {
    if (index[i] < 0 || index[i] != index[0] + static_cast<int>(i)) return false;
  }
  return true;
}

// ---------------------------------------------------------------------------------------------------------------------------
// Planes to planes: rows of 32-bit words, a float32 or an int8 quad each.

class PlanarGather {
 public:
  // Not for steps that exchange axes, that join along another axis than the channels, or that fill single int8 lanes.
  static bool serves(const GatherProblem& p) {
    if (!p.output.planar() || (!p.source.empty() && p.source_axis != 1)) return false;
    for (const TensorDesc& t : p.inputs) {
      if (!t.planar()) return false;
    }
    for (int a = 0; a < 4; ++a) {
      if (p.input_axis[a] != a) return false;
    }
    const std::vector<int>& channels = p.index[1];
    return !p.output.int8() || std::find(channels.begin(), channels.end(), -1) == channels.end();
  }

  PlanarGather(const GatherProblem& p, Isa isa)
      : inputs_(p.inputs), output_(p.output), batch_(p.index[0]), rows_(p.index[2]), columns_(p.index[3]) {
    gather_quads_ = EDGELANE_FOR_ISA(isa, gather_quads);
    for (const TensorDesc& t : inputs_) requantizers_.push_back(requantizer(t, output_, isa));
    channels_.resize(p.index[1].size());
    for (size_t c = 0; c < channels_.size(); ++c) channels_[c] = {p.source.empty() ? 0 : p.source[c], p.index[1][c]};
    columns_shift_ = consecutive(columns_);
    columns_filled_ = std::find(columns_.begin(), columns_.end(), -1) != columns_.end();
    columns_doubled_ = columns_.size() > 1;
    for (size_t x = 0; x < columns_.size(); ++x) columns_doubled_ = columns_doubled_ && columns_[x] == static_cast<int>(x / 2);
    const bool rows_identity = consecutive(rows_) && rows_[0] == 0;
    strip_ = rows_identity && columns_shift_ && columns_[0] == 0;
    for (const TensorDesc& t : inputs_) strip_ = strip_ && t.layout.pitch == output_.layout.pitch && t.dims[3] == output_.dims[3];
    fill_ = static_cast<uint32_t>(fill_bits(output_, p.fill));
    if (output_.int8()) fill_ *= 0x01010101u;
  }

  size_t table_bytes() const {
    return (batch_.size() + rows_.size() + columns_.size()) * sizeof(int) + channels_.size() * sizeof(Channel) +
           inputs_.size() * (sizeof(TensorDesc) + sizeof(Requantizer));
  }

  // PreparedKernel::place_in_output: of an input whose planes are some of the output's as they are.
  std::vector<int64_t> places() const {
    std::vector<int64_t> result(inputs_.size(), -1);
    const PlanarLayout& out = output_.layout;
    const int per_plane = output_.int8() ? kChannelGroup : 1, count = static_cast<int>(channels_.size());
    if (inputs_.size() < 2 || !strip_ || out.batch != 1 || batch_[0] != 0) return result;
    for (int first = 0, end; first < count; first = end) {
      const int source = channels_[first].source;
      for (end = first + 1; end < count && channels_[end].source == source; ++end) continue;
      const PlanarLayout& in = inputs_[source].layout;
      bool alike =
          in.plane == out.plane && in.origin == out.origin && end - first == in.channels && requantizers_[source].identity();
      for (int c = first; c < end; ++c) alike = alike && channels_[c].channel == c - first;
      const int64_t place = first / per_plane * out.plane * static_cast<int64_t>(sizeof(uint32_t));
      if (alike && first % per_plane == 0 && (in.channels % per_plane == 0 || end == count) &&
          place % static_cast<int64_t>(kAlignment) == 0)
        result[source] = place;
    }
    return result;
  }

  void operator()(const KernelArgs& args) const noexcept {
    const PlanarLayout& out = output_.layout;
    const int groups = out.groups(output_.int8());
    parallel_ranges(*args.pool, static_cast<int64_t>(out.batch) * groups, out.plane, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        uint32_t* plane = static_cast<uint32_t*>(args.output) + i * out.plane;
        const int n = static_cast<int>(i / groups), group = static_cast<int>(i % groups);
        if (output_.int8()) {
          write_quad_plane(args.inputs, n, group, plane);
          if (group == groups - 1) fill_channel_padding(plane, out, border_word(output_));
        } else {
          write_plane(args.inputs, channels_[group].source, n, channels_[group].channel, plane);
        }
        fill_border(plane, out, border_word(output_));
      }
    });
  }

 private:
  struct Channel {
    int source, channel;  // channel -1: fill
  };

  const uint32_t* input_plane(const void* const* inputs, int source, int n, int group) const {
    const PlanarLayout& in = inputs_[source].layout;
    return static_cast<const uint32_t*>(inputs[source]) +
           (static_cast<int64_t>(batch_[n]) * in.groups(output_.int8()) + group) * in.plane + in.origin;
  }

  // The plane of words `group` of an input, to a plane of the output.
  void write_plane(const void* const* inputs, int source, int n, int group, uint32_t* plane) const {
    const PlanarLayout& out = output_.layout;
    if (batch_[n] < 0 || group < 0) {
      std::fill(plane + out.origin, plane + out.index(out.height, 0), fill_);
      return;
    }
    const PlanarLayout& in = inputs_[source].layout;
    const uint32_t* from = input_plane(inputs, source, n, group);
    uint32_t* to = plane + out.origin;
    if (from == to) return;  // where it belongs already
    const Requantizer& requantize = requantizers_[static_cast<size_t>(source)];
    if (strip_) {
      requantize.run(reinterpret_cast<const uint8_t*>(from), reinterpret_cast<uint8_t*>(to), out.strip_length() * 4);
      return;
    }
    for (int y = 0; y < out.height; ++y, to += out.pitch) {
      if (y > 0 && rows_[y] == rows_[y - 1]) {  // an enlarged image repeats rows
        std::memcpy(to, to - out.pitch, static_cast<size_t>(out.width) * 4);
      } else if (rows_[y] < 0) {
        std::fill(to, to + out.width, fill_);
      } else if (columns_shift_) {
        std::memcpy(to, from + static_cast<int64_t>(rows_[y]) * in.pitch + columns_[0], static_cast<size_t>(out.width) * 4);
      } else {
        pick_columns(from + static_cast<int64_t>(rows_[y]) * in.pitch, to);
      }
    }
    if (requantize.identity()) return;
    uint8_t* row = reinterpret_cast<uint8_t*>(plane + out.origin);
    for (int y = 0; y < out.height; ++y, row += static_cast<int64_t>(out.pitch) * 4)
      requantize.run(row, row, int64_t{out.width} * 4);
  }

  void pick_columns(const uint32_t* __restrict row, uint32_t* __restrict to) const {
    const int n = output_.layout.width;
    const int* __restrict columns = columns_.data();
    if (columns_doubled_) {  // loops that the compiler vectorises, but for the look-ups
      for (int i = 0; i < n / 2; ++i) to[2 * i] = to[2 * i + 1] = row[i];
      if (n % 2 != 0) to[n - 1] = row[n / 2];
    } else if (!columns_filled_) {
      for (int x = 0; x < n; ++x) to[x] = row[columns[x]];
    } else {
      for (int x = 0; x < n; ++x) to[x] = columns[x] < 0 ? fill_ : row[columns[x]];
    }
  }

  void write_quad_plane(const void* const* inputs, int n, int group, uint32_t* plane) const {
    const Channel* lanes = &channels_[static_cast<size_t>(group) * kChannelGroup];
    const int used = std::min(kChannelGroup, static_cast<int>(channels_.size()) - group * kChannelGroup);
    bool whole = lanes[0].channel % kChannelGroup == 0, mapped = false;
    for (int k = 0; k < used; ++k) {
      whole = whole && lanes[k].source == lanes[0].source && lanes[k].channel == lanes[0].channel + k;
      mapped = mapped || !requantizers_[static_cast<size_t>(lanes[k].source)].identity();
    }
    if (whole || batch_[n] < 0) {
      write_plane(inputs, lanes[0].source, n, lanes[0].channel / kChannelGroup, plane);
      return;
    }
    if (strip_ && !mapped) {
      const uint32_t* from[4];
      int shift[4];
      for (int k = 0; k < kChannelGroup; ++k) {
        const Channel& lane = lanes[std::min(k, used - 1)];  // lanes behind the last channel become the zero point afterwards
        from[k] = input_plane(inputs, lane.source, n, lane.channel / kChannelGroup);
        shift[k] = lane.channel % kChannelGroup * 8;
      }
      gather_quads_(from, shift, plane + output_.layout.origin, output_.layout.strip_length());
      return;
    }
    for (int k = 0; k < used; ++k) write_lane(inputs, lanes[k], n, k, plane);
  }

  void write_lane(const void* const* inputs, const Channel& lane, int n, int k, uint32_t* plane) const {
    const PlanarLayout &out = output_.layout, &in = inputs_[lane.source].layout;
    const uint8_t* from = reinterpret_cast<const uint8_t*>(input_plane(inputs, lane.source, n, lane.channel / kChannelGroup)) +
                          lane.channel % kChannelGroup;
    uint8_t* to = reinterpret_cast<uint8_t*>(plane + out.origin) + k;
    const uint8_t fill = static_cast<uint8_t>(fill_);
    const Requantizer& requantize = requantizers_[static_cast<size_t>(lane.source)];
    for (int y = 0; y < out.height; ++y) {
      for (int x = 0; x < out.width; ++x) {
        uint8_t v = fill;
        if (rows_[y] >= 0 && columns_[x] >= 0) {
          v = requantize(from[(static_cast<int64_t>(rows_[y]) * in.pitch + columns_[x]) * 4]);
        }
        to[(static_cast<int64_t>(y) * out.pitch + x) * 4] = v;
      }
    }
  }

  std::vector<TensorDesc> inputs_;
  TensorDesc output_;
  std::vector<int> batch_, rows_, columns_;
  std::vector<Channel> channels_;
  std::vector<Requantizer> requantizers_;  // one for each input
  GatherQuads gather_quads_ = nullptr;
  bool columns_shift_ = false;    // a row is one run of an input row
  bool columns_filled_ = false;   // some columns come from none
  bool columns_doubled_ = false;  // each column comes twice, as in an image enlarged by two
  bool strip_ = false;            // a whole map is one run of every input's map
  uint32_t fill_ = 0;
};

// ---------------------------------------------------------------------------------------------------------------------------
// Everything else: a table of offsets for each input and axis, a loop over rows of the output's last axis.

template <class T>
class TableGather {
 public:
  TableGather(const GatherProblem& p, Isa isa)
      : output_(p.output),
        to_(p.output),
        source_axis_(p.source_axis),
        source_(p.source),
        fill_(static_cast<T>(fill_bits(p.output, p.fill))) {
    rank_ = std::max(output_.rank, 1);
    std::copy(output_.dims, output_.dims + kMaxRank, dims_);
    if (output_.rank == 0) dims_[0] = 1;
    if (source_.empty()) source_.assign(static_cast<size_t>(dims_[source_axis_]), 0);
    for (const TensorDesc& input : p.inputs) {
      const ElementOffsets from(input);
      Input tables{requantizer(input, output_, isa)};
      tables.base = from.base();
      for (int a = 0; a < rank_; ++a) {
        tables.offset[a].assign(static_cast<size_t>(dims_[a]), 0);
        for (size_t i = 0; i < p.index[a].size(); ++i) {
          tables.offset[a][i] = p.index[a][i] < 0 ? kFill : from.at(p.input_axis[a], p.index[a][i]);
        }
      }
      inputs_.push_back(std::move(tables));
    }
  }

  size_t table_bytes() const {
    size_t entries = 0;
    for (int a = 0; a < rank_; ++a) entries += static_cast<size_t>(dims_[a]);
    return inputs_.size() * (sizeof(Input) + entries * sizeof(int64_t) + 256) + source_.size() * sizeof(int);
  }

  void operator()(const KernelArgs& args) const noexcept {
    const int outer = rank_ - 1;  // axes of the loop here
    const int64_t elements = dims_[outer];
    parallel_ranges(*args.pool, output_.elements() / elements, elements, [&](int64_t begin, int64_t end) {
      int index[kMaxRank] = {};
      int64_t rest = begin;
      for (int a = outer - 1; a >= 0; --a) {
        index[a] = static_cast<int>(rest % dims_[a]);
        rest /= dims_[a];
      }
      for (int64_t i = begin; i < end; ++i) {
        write_row(args, index);
        next_index(index, dims_, outer);
      }
    });
    fill_borders(args.output, output_);
  }

 private:
  static constexpr int64_t kFill = INT64_MIN;
  struct Input {
    Requantizer requantize;
    std::vector<int64_t> offset[kMaxRank] = {};  // by output axis and index along it, in elements
    int64_t base = 0;
  };

  void write_row(const KernelArgs& args, const int* index) const {
    const int last = rank_ - 1;
    T* to = static_cast<T*>(args.output) + to_.base();
    for (int a = 0; a < last; ++a) to += to_.at(a, index[a]);
    for (int x = 0; x < dims_[last];) {
      const int source = source_[source_axis_ == last ? x : index[source_axis_]];
      int end = dims_[last];
      if (source_axis_ == last) {
        end = x + 1;
        while (end < dims_[last] && source_[end] == source) ++end;
      }
      write_run(args, source, index, to, x, end);
      x = end;
    }
  }

  void write_run(const KernelArgs& args, int source, const int* index, T* to, int begin, int end) const {
    const int last = rank_ - 1;
    const Input& input = inputs_[source];
    const int64_t step = to_.at(last, 1);
    const T* from = static_cast<const T*>(args.inputs[source]) + input.base;
    const int64_t* table = input.offset[last].data();
    bool filled = false;
    for (int a = 0; a < last; ++a) {
      filled = filled || input.offset[a][index[a]] == kFill;
      from += filled ? 0 : input.offset[a][index[a]];
    }
    for (int x = begin; x < end; ++x) to[x * step] = filled || table[x] == kFill ? fill_ : from[table[x]];
    if constexpr (sizeof(T) == 1) {
      if (input.requantize.identity()) return;
      for (int x = begin; x < end; ++x) {
        if (!filled && table[x] != kFill) to[x * step] = input.requantize(to[x * step]);
      }
    }
  }

  TensorDesc output_;
  ElementOffsets to_;
  int rank_ = 1;
  int dims_[kMaxRank];
  int source_axis_;
  std::vector<int> source_;
  T fill_;
  std::vector<Input> inputs_;
};

template <class Gather>
std::unique_ptr<PreparedKernel> make_gather(const KernelEntry& entry, Gather gather, std::vector<int64_t> places = {}) {
  const size_t bytes = gather.table_bytes();
  return make_kernel(entry, 0, std::move(gather), bytes, {}, std::move(places));
}

}  // namespace

std::unique_ptr<PreparedKernel> prepare_gather(GatherProblem problem, const KernelEntry& entry) {
  for (const TensorDesc& t : problem.inputs) {
    if (t.dtype != problem.output.dtype || t.rank != problem.output.rank) {
      throw Error(StatusCode::invalid_argument, std::string(entry.name) + ": a " + dtype_name(t.dtype) + " input of rank " +
                                                    std::to_string(t.rank) + " for a " + dtype_name(problem.output.dtype) +
                                                    " output of rank " + std::to_string(problem.output.rank));
    }
  }
  if (PlanarGather::serves(problem)) {
    PlanarGather gather(problem, entry.isa);
    std::vector<int64_t> places = gather.places();
    return make_gather(entry, std::move(gather), std::move(places));
  }
  if (std::unique_ptr<PreparedKernel> boxes = prepare_boxes(problem, entry)) return boxes;
  switch (dtype_bytes(problem.output.dtype)) {
    case 1:
      return make_gather(entry, TableGather<uint8_t>(problem, entry.isa));
    case 4:
      return make_gather(entry, TableGather<uint32_t>(problem, entry.isa));
    default:
      return make_gather(entry, TableGather<uint64_t>(problem, entry.isa));
  }
}

}  // namespace edgelane
