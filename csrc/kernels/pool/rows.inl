// Bodies of PoolRows over a vector type V (kernels/simd/vec_<isa>.hpp); included by rows_<isa>.cpp.
//
// A window is reduced first down its rows, into a line that holds the neutral element where the window leaves the image, and then
// along the line. With a stride of s the line is dealt out into s phases first, so that each tap is a run again.
#include "kernels/pool/rows.hpp"
#include "kernels/simd/loops.hpp"
#include "kernels/simd/quantize.hpp"

namespace edgelane {
namespace {

constexpr int kLineSlack = 64;  // phases are padded to vectors and start at lines of the cache

// T is one pixel: float, or uint32_t for an int8 quad.
template <class T>
struct PoolScratch {
  alignas(64) T line[kPoolLine + kLineSlack];
  alignas(64) T phases[2 * kPoolLine + kLineSlack];
};

// Deals a line of n pixels into phases of `length` pixels each.
template <class T>
EDGELANE_INLINE void deal(const T* line, int n, int stride, int length, T* phases) {
  if (stride == 2) {  // a loop that the compiler vectorises
    T *even = phases, *odd = phases + length;
#pragma GCC ivdep
    for (int i = 0; i < n / 2; ++i) {
      even[i] = line[2 * i];
      odd[i] = line[2 * i + 1];
    }
    if (n % 2 != 0) even[n / 2] = line[n - 1];
    return;
  }
  for (int p = 0; p < stride; ++p) {
    for (int i = p, k = 0; i < n; i += stride, ++k) phases[p * length + k] = line[i];
  }
}

struct MaxF32 {
  using Pixel = float;
  static constexpr float kNeutral = -__builtin_inff();
  // down: out[i] = the largest of x[i], x[i + step], ...
  template <class V, class At>
  static EDGELANE_INLINE void reduce(int count, int n, float* out, const At& at) {
    for_vectors<V>(n, [&](int64_t i, int lanes) {
      V m = V::broadcast(kNeutral);
      for (int k = 0; k < count; ++k) m = max(load<V>(at(k) + i, lanes), m);
      store(m, out + i, lanes);
    });
  }
};

struct SumF32 {
  using Pixel = float;
  static constexpr float kNeutral = 0.0f;
  template <class V, class At>
  static EDGELANE_INLINE void reduce(int count, int n, float* out, const At& at) {
    for_vectors<V>(n, [&](int64_t i, int lanes) {
      V s = V::zero();
      for (int k = 0; k < count; ++k) s = s + load<V>(at(k) + i, lanes);
      store(s, out + i, lanes);
    });
  }
};

struct MaxS8 {
  using Pixel = uint32_t;
  static constexpr uint32_t kNeutral = 0;  // -128 four times
  template <class V, class At>
  static EDGELANE_INLINE void reduce(int count, int n, uint32_t* out, const At& at) {
    if (count == 0) {
      for (int i = 0; i < n; ++i) out[i] = kNeutral;
      return;
    }
    for (int i = 0; i < n; ++i) out[i] = at(0)[i];
    uint8_t* bytes = reinterpret_cast<uint8_t*>(out);
    for (int k = 1; k < count; ++k) {
      const uint8_t* x = reinterpret_cast<const uint8_t*>(at(k));
#pragma GCC ivdep
      for (int i = 0; i < 4 * n; ++i) bytes[i] = x[i] > bytes[i] ? x[i] : bytes[i];
    }
  }
};

// f(first output pixel, output pixels) is called after `out` of each tile has been written.
template <class V, class Op, class F>
EDGELANE_INLINE void pool_row(const PoolRow& row, typename Op::Pixel* y, const F& finish) {
  using T = typename Op::Pixel;
  PoolScratch<T> scratch;
  const int reach = (row.kernel_w - 1) * row.dilation_w;
  const int fit = (kPoolLine - reach - 1) / row.stride_w + 1, tile = fit < 1 ? 1 : fit;
  for (int x0 = 0; x0 < row.out_width; x0 += tile) {
    const int outputs = row.out_width - x0 < tile ? row.out_width - x0 : tile;
    const int begin = x0 * row.stride_w - row.pad_left;  // the input column of line[0]
    const int n = (outputs - 1) * row.stride_w + reach + 1;
    int inside_begin = begin < 0 ? -begin : 0, inside_end = row.width - begin < n ? row.width - begin : n;
    if (inside_begin > n) inside_begin = n;
    if (inside_end < inside_begin) inside_end = inside_begin;
    for (int i = 0; i < inside_begin; ++i) scratch.line[i] = Op::kNeutral;
    for (int i = inside_end; i < n; ++i) scratch.line[i] = Op::kNeutral;
    const T* first = static_cast<const T*>(row.first) + begin + inside_begin;
    Op::template reduce<V>(row.rows, inside_end - inside_begin, scratch.line + inside_begin,
                           [&](int k) { return first + k * row.row_step; });
    const T* taps = scratch.line;
    int length = 0;
    if (row.stride_w > 1) {
      length = (n + row.stride_w - 1) / row.stride_w;
      deal(scratch.line, n, row.stride_w, length, scratch.phases);
      taps = scratch.phases;
    }
    Op::template reduce<V>(row.kernel_w, outputs, y + x0, [&](int k) {
      const int column = k * row.dilation_w;
      return taps + column % row.stride_w * length + column / row.stride_w;
    });
    finish(x0, outputs);
  }
}

// One output pixel, where the window may leave the image.
inline float max_of_window(const PoolRow& row, int x) {
  const int left = x * row.stride_w - row.pad_left;
  float m = MaxF32::kNeutral;
  for (int r = 0; r < row.rows; ++r) {
    for (int k = 0; k < row.kernel_w; ++k) {
      const int column = left + k;
      if (column < 0 || column >= row.width) continue;
      const float in = static_cast<const float*>(row.first)[r * row.row_step + column];
      m = in > m ? in : m;
    }
  }
  return m;
}

// Windows three pixels wide with a stride of 2, the most frequent ones, straight from the rows; false where the row has too few
// windows inside the image for a vector of them.
template <class V>
EDGELANE_INLINE bool max_of_three(const PoolRow& row, float* y) {
  const int first = (row.pad_left + 1) / 2, inside = row.width - 3 + row.pad_left;
  const int last = inside / 2 + 1 < row.out_width ? inside / 2 + 1 : row.out_width;
  if (inside < 0 || last - first < V::width) return false;
  for (int x = 0; x < first; ++x) y[x] = max_of_window(row, x);
  for (int x = last; x < row.out_width; ++x) y[x] = max_of_window(row, x);
  for (int i = first; i < last; i += V::width) {
    const int x = i < last - V::width ? i : last - V::width;
    const float* in = static_cast<const float*>(row.first) + (2 * x - row.pad_left);
    V low = V::broadcast(MaxF32::kNeutral), high = low, next_low = low, next_high = low;
    for (int r = 0; r < row.rows; ++r, in += row.row_step) {
      low = max(V::loadu(in), low);
      high = max(V::loadu(in + V::width), high);
      next_low = max(V::loadu(in + 1), next_low);
      next_high = max(V::loadu(in + 1 + V::width), next_high);
    }
    max(odd_lanes(next_low, next_high), max(odd_lanes(low, high), even_lanes(low, high))).storeu(y + x);
  }
  return true;
}

template <class V>
void max_f32(const PoolRow& row, float* y) {
  if (row.stride_w == 2 && row.kernel_w == 3 && row.dilation_w == 1 && max_of_three<V>(row, y)) return;
  pool_row<V, MaxF32>(row, y, [](int, int) {});
}

template <class V>
void max_s8(const PoolRow& row, uint32_t* y) {
  pool_row<V, MaxS8>(row, y, [](int, int) {});
}

template <class V>
void average_f32(const PoolRow& row, PoolCounts counts, float* y) {
  pool_row<V, SumF32>(row, y, [&](int x0, int outputs) {
    for_vectors<V>(outputs, [&](int64_t i, int lanes) {
      const V count = load<V>(counts.columns + x0 + i, lanes) * V::broadcast(counts.rows);
      store(load<V>(y + x0 + i, lanes) / count, y + x0 + i, lanes);
    });
  });
}

template <class V>
void average_s8(const PoolRow& row, PoolCounts counts, float in_scale, int32_t in_zero_point, float out_scale,
                int32_t out_zero_point, uint8_t* y) {
  constexpr int kTile = 64, kQuad = 4;
  struct Scratch {
    alignas(64) int32_t line[(kPoolLine + kTile) * kQuad];  // sums down the window's rows
    alignas(64) int32_t sums[kTile * kQuad];
    alignas(64) float divisors[kTile * kQuad];
  } scratch;
  const VectorQuant<V> quant(out_scale, out_zero_point);
  const int fit = (kPoolLine + kTile - row.kernel_w) / row.stride_w + 1, tile = fit < kTile ? fit : kTile;
  for (int x0 = 0; x0 < row.out_width; x0 += tile) {
    const int outputs = row.out_width - x0 < tile ? row.out_width - x0 : tile;
    const int left = x0 * row.stride_w - row.pad_left, right = left + (outputs - 1) * row.stride_w + row.kernel_w;
    const int from = left < 0 ? 0 : left, n = (right < row.width ? right : row.width) - from;
    for (int i = 0; i < n * kQuad; ++i) scratch.line[i] = 0;
    for (int r = 0; r < row.rows; ++r) {
      const uint8_t* x = static_cast<const uint8_t*>(row.first) + (r * row.row_step + from) * kQuad;
#pragma GCC ivdep
      for (int i = 0; i < n * kQuad; ++i) scratch.line[i] += x[i];
    }
    for (int x = 0; x < outputs; ++x) {
      const int start = left + x * row.stride_w, begin = start < from ? from : start;
      const int end = start + row.kernel_w < from + n ? start + row.kernel_w : from + n, columns = end > begin ? end - begin : 0;
      const int32_t* const window = scratch.line + (begin - from) * kQuad;
      int32_t s[kQuad];
      for (int k = 0; k < kQuad; ++k) s[k] = -(in_zero_point + 128) * columns * row.rows;
      for (int i = 0; i < columns; ++i)
        for (int k = 0; k < kQuad; ++k) s[k] += window[i * kQuad + k];
      for (int k = 0; k < kQuad; ++k) {
        scratch.sums[x * kQuad + k] = s[k];
        scratch.divisors[x * kQuad + k] = counts.columns[x0 + x] * counts.rows;
      }
    }
    for (int i = 0; i < outputs * kQuad; i += V::width) {
      const V real = V::broadcast(in_scale) * V::Int::load(scratch.sums + i).to_float() / V::load(scratch.divisors + i);
      const typename V::Int stored = quantize_lanes(real, quant);
      const int lanes = outputs * kQuad - i;
      lanes >= V::width ? stored.store_u8(y + x0 * kQuad + i) : stored.store_u8_first(y + x0 * kQuad + i, lanes);
    }
  }
}

template <class V>
float sum_f32(const float* x, int64_t n) {
  return sum<V>(x, n);
}

template <class V>
void sum_s8(const uint8_t* quads, int64_t n, int64_t sums[4]) {
  using Int = typename V::Int;
  constexpr int64_t kPiece = 1 << 20;  // bytes that a lane can add up: far below 2^31 / 255
  for (int k = 0; k < 4; ++k) sums[k] = 0;
  for (int64_t first = 0; first < 4 * n; first += kPiece) {
    const int64_t end = first + kPiece < 4 * n ? first + kPiece : 4 * n;
    Int s = Int::zero();
    for_vectors<V>(end - first, [&](int64_t i, int lanes) {
      const uint8_t* p = quads + first + i;
      s = s + (lanes == V::width ? Int::load_u8(p) : Int::load_u8_first(p, lanes));
    });
    int32_t lanes[V::width];
    s.storeu(lanes);
    for (int i = 0; i < V::width; ++i) sums[i % 4] += lanes[i];
  }
}

template <class V>
constexpr PoolRows make_rows() {
  return {max_f32<V>, max_s8<V>, average_f32<V>, average_s8<V>, sum_f32<V>, sum_s8<V>};
}

}  // namespace
}  // namespace edgelane
