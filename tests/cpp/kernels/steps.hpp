// What the tests of all kernel families share: tensors with hostile layouts, and one check of a prepared step.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "core/aligned_buffer.hpp"
#include "core/cpu_features.hpp"
#include "core/status.hpp"
#include "core/thread_pool.hpp"
#include "kernels/access.hpp"
#include "kernels/border.hpp"
#include "kernels/registry.hpp"

namespace edgelane::testing_steps {

constexpr Border kDense{-1, -1, -1, -1};  // not a border: a dense layout, where the dtype has one

inline TensorDesc tensor(DType dtype, std::vector<int> dims, Border border = {}, QuantParams quant = {}) {
  TensorDesc t;
  t.dtype = dtype;
  t.rank = static_cast<int>(dims.size());
  std::copy(dims.begin(), dims.end(), t.dims);
  t.quant = quant;
  const bool dense = border.top < 0;
  if (t.planar()) t.layout = PlanarLayout(dims[0], dims[1], dims[2], dims[3], dense ? Border{} : border);
  if (t.planar() && dense && dtype == DType::float32) t.layout = PlanarLayout::dense(dims[0], dims[1], dims[2], dims[3]);
  return t;
}
inline TensorDesc f32(std::vector<int> dims, Border border = {}) { return tensor(DType::float32, std::move(dims), border); }
inline TensorDesc s8(std::vector<int> dims, QuantParams quant, Border border = {}) {
  return tensor(DType::int8, std::move(dims), border, quant);
}

// Bytes of one activation. Poisoned, so that an element that a kernel forgets to write shows.
struct Data {
  TensorDesc desc;
  AlignedBuffer<uint8_t> bytes;

  explicit Data(const TensorDesc& t) : desc(t), bytes(t.bytes()) { std::memset(bytes.data(), 0xa5, bytes.size()); }
  const float* floats() const { return reinterpret_cast<const float*>(bytes.data()); }
  float* floats() { return reinterpret_cast<float*>(bytes.data()); }
};

// Random elements; float32 in [-4, 4), some of them exactly 0 or 0.5 steps, int8 over its whole range with -128 and 127.
inline Data random_data(const TensorDesc& t, int seed) {
  Data d(t);
  std::mt19937 random(static_cast<unsigned>(seed));
  const ElementOffsets offsets(t);
  int i[kMaxRank] = {};
  do {
    const int64_t at = offsets(i, t.rank);
    const uint32_t r = random();
    if (t.dtype == DType::float32) {
      const float v = static_cast<float>(r >> 8) * (8.0f / (1 << 24)) - 4.0f;
      d.floats()[at] = r % 7 == 0 ? std::nearbyint(v * 2.0f) / 2.0f : v;
    } else {
      uint8_t* bytes = d.bytes.data() + at * static_cast<int64_t>(dtype_bytes(t.dtype));
      for (size_t b = 0; b < dtype_bytes(t.dtype); ++b) bytes[b] = static_cast<uint8_t>(random() >> 13);
      if (t.int8() && r % 11 == 0) bytes[0] = r % 2 != 0 ? 0 : 255;
    }
  } while (next_index(i, t.dims, t.rank));
  fill_borders(d.bytes.data(), t);
  return d;
}

// Sets one element of a float32 tensor, counted over its whole shape.
inline void set_element(Data* d, int64_t element, float value) {
  int i[kMaxRank] = {};
  for (int a = d->desc.rank - 1; a >= 0; element /= d->desc.dims[a--]) i[a] = static_cast<int>(element % d->desc.dims[a]);
  d->floats()[ElementOffsets(d->desc)(i, d->desc.rank)] = value;
}

struct Tolerance {
  float relative = 0.0f, absolute = 0.0f;
};

// The whole buffers are compared, so that borders and channel padding must be right too. Zeros of either sign are equal: which
// one a maximum or a sum gives depends on its order.
inline void expect_same(const Data& expected, const Data& found, Tolerance tolerance, const std::string& what) {
  ASSERT_EQ(expected.bytes.size(), found.bytes.size()) << what;
  const size_t bytes = expected.desc.bytes();
  if (expected.desc.dtype != DType::float32) {
    for (size_t b = 0; b < bytes; ++b) {
      if (expected.bytes[b] != found.bytes[b]) {
        FAIL() << what << ": byte " << b << " of " << bytes << ": expected " << int{expected.bytes[b]} << ", found "
               << int{found.bytes[b]};
      }
    }
    return;
  }
  for (size_t i = 0; i < bytes / 4; ++i) {
    const float e = expected.floats()[i], f = found.floats()[i];
    if (std::isnan(e) || std::isnan(f)) {
      ASSERT_TRUE(std::isnan(e) && std::isnan(f)) << what << ": element " << i << ": expected " << e << ", found " << f;
    } else if (e != f) {
      ASSERT_LE(std::fabs(e - f), tolerance.absolute + tolerance.relative * std::fabs(e))
          << what << ": element " << i << " of " << bytes / 4 << ": expected " << e << ", found " << f;
    }
  }
}

// The kernels of an operation that this CPU runs.
inline std::vector<KernelOptions> runnable(const std::string& family, const std::string& operation) {
  std::vector<KernelOptions> options;
  for (const KernelEntry& entry : all_kernels()) {
    const std::string name = entry.name;
    if (family != entry.family || name.compare(0, operation.size() + 1, operation + "_") != 0) continue;
    const std::string tile_and_isa = name.substr(operation.size() + 1);
    if (tile_and_isa.substr(tile_and_isa.find('_') + 1) != isa_name(entry.isa)) continue;  // a longer operation's kernel
    const std::vector<Isa>& isas = available_isas();
    if (std::find(isas.begin(), isas.end(), entry.isa) != isas.end()) options.push_back({entry.isa, name});
  }
  EXPECT_FALSE(options.empty()) << "no kernel for " << operation;
  return options;
}

inline Data run_step(const PreparedKernel& kernel, const std::vector<const Data*>& inputs, const TensorDesc& output,
                     int threads) {
  Data y(output);
  std::vector<const void*> pointers;
  for (const Data* d : inputs) pointers.push_back(d->bytes.data());
  AlignedBuffer<uint8_t> workspace(kernel.workspace_bytes());
  if (workspace.size() > 0) std::memset(workspace.data(), 0x7f, workspace.size());  // NaN: uninitialised use shows
  ThreadPool pool(threads);
  kernel.run({pointers.data(), y.bytes.data(), workspace.data(), &pool});
  return y;
}

// Runs every kernel of an operation on one and on two threads: the same bits from both, and the reference's result.
// `prepare` makes the kernel from options.
template <class Prepare>
void check_step(const std::string& family, const std::string& operation, const std::vector<const Data*>& inputs,
                const Data& expected, Tolerance tolerance, const std::string& what, const Prepare& prepare) {
  for (const KernelOptions& options : runnable(family, operation)) {
    const std::unique_ptr<PreparedKernel> kernel = prepare(options);
    EXPECT_EQ(kernel->info().kernel, options.kernel);
    const std::string label = options.kernel + ", " + what;
    const Data one = run_step(*kernel, inputs, expected.desc, 1), two = run_step(*kernel, inputs, expected.desc, 2);
    expect_same(expected, one, tolerance, label);
    EXPECT_EQ(std::memcmp(one.bytes.data(), two.bytes.data(), one.bytes.size()), 0) << label << ": two threads differ from one";
  }
}

}  // namespace edgelane::testing_steps
