#include "formats/block_sparse.hpp"

#include <algorithm>
#include <cstring>

#include "formats/bits.hpp"

namespace edgelane {
namespace {

int blocks_of(int count, int block) { return (count + block - 1) / block; }

}  // namespace

template <class T>
double density(Span<const T> dense) {
  if (dense.empty()) return 0.0;
  constexpr size_t kRun = 255;  // what a byte can count, so that vectors of bytes can
  int64_t nonzeros = 0;
  for (size_t first = 0; first < dense.size(); first += kRun) {
    const size_t end = std::min(first + kRun, dense.size());
    uint8_t count = 0;
    for (size_t i = first; i < end; ++i) count = static_cast<uint8_t>(count + (dense[i] != T{0}));
    nonzeros += count;
  }
  return static_cast<double>(nonzeros) / static_cast<double>(dense.size());
}

template <class T>
std::vector<T> expand_blocks(const uint8_t* bitmask, const T* blocks, WeightShape shape, int block_oc, int block_ic) {
  std::vector<T> dense(static_cast<size_t>(shape.count()), T{0});
  const int oc_blocks = blocks_of(shape.oc, block_oc), ic_blocks = blocks_of(shape.ic, block_ic);
  const auto map = [&](int64_t k) {
    uint64_t bits;  // of a little-endian file on a little-endian machine
    std::memcpy(&bits, bitmask + k * static_cast<int64_t>(sizeof bits), sizeof bits);
    return bits;
  };
  int64_t bit = 0;
  for (int ob = 0; ob < oc_blocks; ++ob) {
    // Positions past the edge of the tensor are padding of the block.
    const int rows = std::min(block_oc, shape.oc - ob * block_oc);
    for (int tap = 0; tap < shape.taps; ++tap, bit += ic_blocks) {
      for_each_one(map, bit, bit + ic_blocks, [&](int64_t one) {
        const int ic = static_cast<int>(one - bit) * block_ic, columns = std::min(block_ic, shape.ic - ic);
        for (int o = 0; o < rows; ++o) {
          T* to = dense.data() + (static_cast<size_t>(ob * block_oc + o) * shape.ic + ic) * shape.taps + tap;
          for (int i = 0; i < columns; ++i) to[static_cast<size_t>(i) * shape.taps] = blocks[o * block_ic + i];
        }
        blocks += block_oc * block_ic;
      });
    }
  }
  return dense;
}

template double density<float>(Span<const float>);
template double density<int8_t>(Span<const int8_t>);
template std::vector<float> expand_blocks<float>(const uint8_t*, const float*, WeightShape, int, int);
template std::vector<int8_t> expand_blocks<int8_t>(const uint8_t*, const int8_t*, WeightShape, int, int);

}  // namespace edgelane
