#include "formats/block_sparse.hpp"

#include <algorithm>

namespace edgelane {
namespace {

int blocks_of(int count, int block) { return (count + block - 1) / block; }

}  // namespace

template <class T>
double density(Span<const T> dense) {
  if (dense.empty()) return 0.0;
  const auto zeros = std::count(dense.begin(), dense.end(), T{0});
  return 1.0 - static_cast<double>(zeros) / static_cast<double>(dense.size());
}

template <class T>
std::vector<T> expand_blocks(const uint8_t* bitmask, const T* blocks, WeightShape shape, int block_oc, int block_ic) {
  std::vector<T> dense(static_cast<size_t>(shape.count()), T{0});
  const int oc_blocks = blocks_of(shape.oc, block_oc), ic_blocks = blocks_of(shape.ic, block_ic);
  size_t bit = 0;
  for (int ob = 0; ob < oc_blocks; ++ob)
    for (int tap = 0; tap < shape.taps; ++tap)
      for (int ib = 0; ib < ic_blocks; ++ib, ++bit) {
        if ((bitmask[bit / 8] >> (bit % 8) & 1) == 0) continue;
        // Positions past the edge of the tensor are padding of the block.
        const int rows = std::min(block_oc, shape.oc - ob * block_oc), columns = std::min(block_ic, shape.ic - ib * block_ic);
        for (int o = 0; o < rows; ++o)
          for (int i = 0; i < columns; ++i) {
            const size_t channel = static_cast<size_t>(ob * block_oc + o) * shape.ic + ib * block_ic + i;
            dense[channel * shape.taps + tap] = blocks[o * block_ic + i];
          }
        blocks += block_oc * block_ic;
      }
  return dense;
}

template double density<float>(Span<const float>);
template double density<int8_t>(Span<const int8_t>);
template std::vector<float> expand_blocks<float>(const uint8_t*, const float*, WeightShape, int, int);
template std::vector<int8_t> expand_blocks<int8_t>(const uint8_t*, const int8_t*, WeightShape, int, int);

}  // namespace edgelane
