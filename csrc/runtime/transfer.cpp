#include "runtime/transfer.hpp"

#include <algorithm>
#include <cstring>

#include "kernels/border.hpp"
#include "kernels/split.hpp"

namespace edgelane {
namespace {

constexpr uint8_t kFlip = 0x80;  // q + 128 as uint8 is q with its sign bit turned over
static_assert(kFlip == kActivationBias, "flipping the sign bit adds the bias");

// A caller's bool may be any byte; one in the network is 0 or 1, which logic works on.
enum class Bools { normalized, as_they_are };

void copy_bytes(DType dtype, Bools bools, const uint8_t* from, uint8_t* to, int64_t bytes) noexcept {
  if (dtype == DType::int8) {
    for (int64_t i = 0; i < bytes; ++i) to[i] = from[i] ^ kFlip;
  } else if (dtype == DType::boolean && bools == Bools::normalized) {
    for (int64_t i = 0; i < bytes; ++i) to[i] = from[i] != 0;
  } else {
    std::memcpy(to, from, static_cast<size_t>(bytes));
  }
}

void copy_plain(const TensorDesc& desc, Bools bools, const void* from, void* to, ThreadPool& pool) noexcept {
  constexpr int64_t kBlock = 4096;
  const auto bytes = static_cast<int64_t>(desc.bytes());
  parallel_ranges(pool, (bytes + kBlock - 1) / kBlock, kBlock, [&](int64_t begin, int64_t end) {
    const int64_t first = begin * kBlock;
    copy_bytes(desc.dtype, bools, static_cast<const uint8_t*>(from) + first, static_cast<uint8_t*>(to) + first,
               std::min(end * kBlock, bytes) - first);
  });
}

// The channels of one plane: how many, and where the first stands in the row-major array, in elements.
struct PlaneChannels {
  int count;
  int64_t first_element;
};

PlaneChannels channels_of(const PlanarLayout& l, bool int8, int plane) {
  const int groups = l.groups(int8), image = plane / groups, group = plane % groups;
  const int width = int8 ? kChannelGroup : 1, first = group * width;
  return {std::min(width, l.channels - first), (int64_t{image} * l.channels + first) * l.height * l.width};
}

void import_rows(const TensorDesc& desc, const uint8_t* array, uint32_t* to, PlaneChannels channels, RowRange rows) noexcept {
  const PlanarLayout& l = desc.layout;
  const int64_t pixels = int64_t{l.height} * l.width;
  if (!desc.int8()) {
    const uint8_t* from = array + channels.first_element * 4;
    const size_t row_bytes = static_cast<size_t>(l.width) * 4;
    for (int y = rows.first; y < rows.last; ++y)
      std::memcpy(to + l.index(y, 0), from + static_cast<size_t>(y) * row_bytes, row_bytes);
  } else {
    const uint8_t* from = array + channels.first_element;
    for (int c = 0; c < channels.count; ++c) {
      for (int y = rows.first; y < rows.last; ++y) {
        const uint8_t* row = from + c * pixels + int64_t{y} * l.width;
        auto* quads = reinterpret_cast<uint8_t*>(to + l.index(y, 0)) + c;
        for (int x = 0; x < l.width; ++x) quads[x * kChannelGroup] = row[x] ^ kFlip;
      }
    }
    if (channels.count < kChannelGroup) fill_channel_padding(to, l, border_word(desc), rows);
  }
  fill_border(to, l, border_word(desc), rows);
}

void export_rows(const TensorDesc& desc, const uint32_t* from, uint8_t* array, PlaneChannels channels, RowRange rows) noexcept {
  const PlanarLayout& l = desc.layout;
  const int64_t pixels = int64_t{l.height} * l.width;
  if (!desc.int8()) {
    uint8_t* to = array + channels.first_element * 4;
    const size_t row_bytes = static_cast<size_t>(l.width) * 4;
    for (int y = rows.first; y < rows.last; ++y)
      std::memcpy(to + static_cast<size_t>(y) * row_bytes, from + l.index(y, 0), row_bytes);
    return;
  }
  uint8_t* to = array + channels.first_element;
  for (int c = 0; c < channels.count; ++c) {
    for (int y = rows.first; y < rows.last; ++y) {
      uint8_t* row = to + c * pixels + int64_t{y} * l.width;
      const auto* quads = reinterpret_cast<const uint8_t*>(from + l.index(y, 0)) + c;
      for (int x = 0; x < l.width; ++x) row[x] = quads[x * kChannelGroup] ^ kFlip;
    }
  }
}

int planes_of(const TensorDesc& desc) { return desc.layout.batch * desc.layout.groups(desc.int8()); }

}  // namespace

void import_array(const TensorDesc& desc, const void* array, void* activation, ThreadPool& pool) noexcept {
  if (!desc.planar()) return copy_plain(desc, Bools::normalized, array, activation, pool);
  parallel_rows(pool, planes_of(desc), desc.layout.height, desc.layout.plane, [&](int64_t plane, RowRange rows) {
    import_rows(desc, static_cast<const uint8_t*>(array), static_cast<uint32_t*>(activation) + plane * desc.layout.plane,
                channels_of(desc.layout, desc.int8(), static_cast<int>(plane)), rows);
  });
}

void export_array(const TensorDesc& desc, const void* activation, void* array, ThreadPool& pool) noexcept {
  if (!desc.planar()) return copy_plain(desc, Bools::as_they_are, activation, array, pool);
  parallel_rows(pool, planes_of(desc), desc.layout.height, desc.layout.plane, [&](int64_t plane, RowRange rows) {
    export_rows(desc, static_cast<const uint32_t*>(activation) + plane * desc.layout.plane, static_cast<uint8_t*>(array),
                channels_of(desc.layout, desc.int8(), static_cast<int>(plane)), rows);
  });
}

}  // namespace edgelane
