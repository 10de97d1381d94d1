// Convolutions of ResNet-50, ResNet-18 and MobileNetV2 at several densities, next to what the CPU could do at best.
//
//   edgelane_benchmarks --benchmark_filter=s8
//
// min_us is the shortest run: on a shared machine the mean says more about the neighbours. of_ceiling is the share of the
// multiply-add peak, measured in the same process, that the executed MACs reach in that time.
#include <benchmark/benchmark.h>

#include <chrono>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "core/aligned_buffer.hpp"
#include "kernels/conv2d/conv2d.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace edgelane {
namespace {

double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

#if defined(__x86_64__)
// Multiply-accumulates per second of one core: independent chains of the widest instruction that the kernels use.
__attribute__((target("avx512f"))) double peak_f32_avx512() {
  __m512 sum[12];
  for (auto& s : sum) s = _mm512_set1_ps(1.0f);
  const __m512 x = _mm512_set1_ps(0.5f);
  double best = std::numeric_limits<double>::max();
  for (int repeat = 0; repeat < 200; ++repeat) {
    const double start = seconds();
    for (int i = 0; i < 1000; ++i)
#pragma GCC unroll 12
      for (auto& s : sum) s = _mm512_fmadd_ps(s, x, x);
    best = std::min(best, seconds() - start);
  }
  for (auto& s : sum) benchmark::DoNotOptimize(s);
  return 1000.0 * 12 * 16 / best;
}

__attribute__((target("avx512vnni,avx512f"))) double peak_s8_avx512_vnni() {
  __m512i sum[12];
  for (auto& s : sum) s = _mm512_set1_epi32(1);
  const __m512i x = _mm512_set1_epi32(0x01020304);
  double best = std::numeric_limits<double>::max();
  for (int repeat = 0; repeat < 200; ++repeat) {
    const double start = seconds();
    for (int i = 0; i < 1000; ++i)
#pragma GCC unroll 12
      for (auto& s : sum) s = _mm512_dpbusd_epi32(s, x, x);
    best = std::min(best, seconds() - start);
  }
  for (auto& s : sum) benchmark::DoNotOptimize(s);
  return 1000.0 * 12 * 64 / best;
}

__attribute__((target("avx2,fma"))) double peak_f32_avx2() {
  __m256 sum[12];
  for (auto& s : sum) s = _mm256_set1_ps(1.0f);
  const __m256 x = _mm256_set1_ps(0.5f);
  double best = std::numeric_limits<double>::max();
  for (int repeat = 0; repeat < 200; ++repeat) {
    const double start = seconds();
    for (int i = 0; i < 1000; ++i)
#pragma GCC unroll 12
      for (auto& s : sum) s = _mm256_fmadd_ps(s, x, x);
    best = std::min(best, seconds() - start);
  }
  for (auto& s : sum) benchmark::DoNotOptimize(s);
  return 1000.0 * 12 * 8 / best;
}
#endif

// The float32 or int8 peak of the best instruction set up to `isa`; 0 where none was written down.
double peak(Isa isa, bool int8) {
#if defined(__x86_64__)
  static const double vnni = available_isas().back() >= Isa::avx512_vnni ? peak_s8_avx512_vnni() : 0;
  static const double avx512 = available_isas().back() >= Isa::avx512 ? peak_f32_avx512() : 0;
  static const double avx2 = available_isas().back() >= Isa::avx2 ? peak_f32_avx2() : 0;
  if (int8) return isa >= Isa::avx512_vnni ? vnni : isa >= Isa::avx512 ? avx512 : isa >= Isa::avx2 ? avx2 : 0;
  return isa >= Isa::avx512 ? avx512 : isa >= Isa::avx2 ? avx2 : 0;
#else
  (void)isa, (void)int8;
  return 0;
#endif
}

struct Layer {
  const char* name;
  int channels, size, oc, kernel, stride, groups;
};
constexpr Layer kLayers[] = {
    {"1x1_256_1024_at14", 256, 14, 1024, 1, 1, 1}, {"1x1_1024_256_at14", 1024, 14, 256, 1, 1, 1},
    {"3x3_256_256_at14", 256, 14, 256, 3, 1, 1},   {"3x3_128_128_at28", 128, 28, 128, 3, 1, 1},
    {"3x3_64_64_at56", 64, 56, 64, 3, 1, 1},       {"1x1_64_256_at56", 64, 56, 256, 1, 1, 1},
    {"1x1_512_2048_at7", 512, 7, 2048, 1, 1, 1},   {"3x3_512_512_at7", 512, 7, 512, 3, 1, 1},
    {"3x3_512_512_at4", 512, 4, 512, 3, 1, 1},     {"3x3_512_512_at2", 512, 2, 512, 3, 1, 1},
    {"3x3_256_256_at4", 256, 4, 256, 3, 1, 1},     {"3x3_128_128_at8", 128, 8, 128, 3, 1, 1},
    {"3x3_64_64_at16", 64, 16, 64, 3, 1, 1},       {"3x3_64_128_at56_s2", 64, 56, 128, 3, 2, 1},
    {"7x7_3_64_at224_s2", 3, 224, 64, 7, 2, 1},    {"3x3_dw_144_at56", 144, 56, 144, 3, 1, 144},
    {"1x1_24_144_at56", 24, 56, 144, 1, 1, 1},
};

enum class Pattern { dense, unstructured, oc4, ic4, oc4_ic4 };
constexpr const char* kPatternNames[] = {"dense", "unstructured", "4x1", "1x4", "4x4"};

template <class T>
std::vector<T> weights_of(const Layer& l, Pattern pattern, double keep) {
  std::mt19937 random(1);
  std::bernoulli_distribution kept(keep);
  const int block_oc = pattern == Pattern::oc4 || pattern == Pattern::oc4_ic4 ? 4 : 1;
  const int block_ic = pattern == Pattern::ic4 || pattern == Pattern::oc4_ic4 ? 4 : 1;
  const int ic = l.channels / l.groups, taps = l.kernel * l.kernel;
  std::vector<T> w(static_cast<size_t>(l.oc) * ic * taps);
  for (int ob = 0; ob < l.oc; ob += block_oc)
    for (int ib = 0; ib < ic; ib += block_ic)
      for (int t = 0; t < taps; ++t) {
        if (pattern != Pattern::dense && !kept(random)) continue;
        for (int o = ob; o < std::min(l.oc, ob + block_oc); ++o)
          for (int i = ib; i < std::min(ic, ib + block_ic); ++i)
            w[(static_cast<size_t>(o) * ic + i) * taps + t] = static_cast<T>(1 + static_cast<int>(random() % 50));
      }
  return w;
}

void run(benchmark::State& state, const Layer& l, bool int8, Pattern pattern, double keep, const KernelOptions& options) {
  Conv2dProblem p;
  const int pad = l.kernel / 2, out = (l.size + 2 * pad - l.kernel) / l.stride + 1;
  const Border border{1, 1, 1, 1};
  p.input = PlanarLayout(1, l.channels, l.size, l.size, Border{pad, pad, pad, pad});
  p.output = PlanarLayout(1, l.oc, out, out, l.kernel == 1 ? border : Border{});
  p.kernel_h = p.kernel_w = l.kernel;
  p.stride_h = p.stride_w = l.stride;
  p.pad_top = p.pad_left = pad;
  p.groups = l.groups;
  p.activation = {ActivationKind::relu, 0, 0};
  const float scale = 0.01f;
  Conv2dS8Params quant;
  quant.input = {0.02f, 0};
  quant.weight_scales = {&scale, 1};
  quant.output = {1.0f, 0};
  std::unique_ptr<PreparedKernel> kernel;
  if (int8) {
    const std::vector<int32_t> bias(static_cast<size_t>(l.oc), 1);
    kernel = prepare_conv2d_s8(p, quant, weights_of<int8_t>(l, pattern, keep), bias, options);
  } else {
    const std::vector<float> bias(static_cast<size_t>(l.oc), 1.0f);
    kernel = prepare_conv2d_f32(p, weights_of<float>(l, pattern, keep), bias, options);
  }
  AlignedBuffer<uint8_t> x(p.input.bytes(int8)), y(p.output.bytes(int8)), workspace(kernel->workspace_bytes());
  if (int8) std::memset(x.data(), kActivationBias, x.size());
  ThreadPool pool(1);
  const void* inputs[] = {x.data(), nullptr};
  const KernelArgs args{inputs, y.data(), workspace.data(), &pool};
  double best = std::numeric_limits<double>::max();
  for (auto _ : state) {
    const double start = seconds();
    kernel->run(args);
    const double time = seconds() - start;
    best = std::min(best, time);
  }
  const KernelInfo& info = kernel->info();
  state.SetLabel(info.kernel + " " + info.format);
  state.counters["min_us"] = best * 1e6;
  state.counters["GMAC/s"] = static_cast<double>(info.macs) / best / 1e9;
  const double most = peak(info.isa, int8);
  if (most > 0) state.counters["of_ceiling"] = static_cast<double>(info.macs) / best / most;
}

struct Variant {
  bool int8;
  Pattern pattern;
  double keep;
};
constexpr Variant kVariants[] = {
    {false, Pattern::dense, 1.0},  {false, Pattern::unstructured, 0.1}, {false, Pattern::oc4, 0.1},
    {false, Pattern::oc4, 0.2},    {true, Pattern::dense, 1.0},         {true, Pattern::ic4, 0.1},
    {true, Pattern::oc4_ic4, 0.1}, {true, Pattern::oc4_ic4, 0.2},
};

const bool registered = [] {
  for (const Variant& v : kVariants)
    for (const Layer& l : kLayers) {
      if (l.groups > 1 && v.pattern != Pattern::dense) continue;
      const std::string name = std::string(v.int8 ? "conv2d_s8/" : "conv2d_f32/") + kPatternNames[static_cast<int>(v.pattern)] +
                               (v.pattern == Pattern::dense ? "" : "_" + std::to_string(static_cast<int>(v.keep * 100))) + "/" +
                               l.name;
      benchmark::RegisterBenchmark(name.c_str(),
                                   [l, v](benchmark::State& state) {
                                     KernelOptions options;
                                     options.isa = select_isa("");
                                     run(state, l, v.int8, v.pattern, v.keep, options);
                                   })
          ->Unit(benchmark::kMicrosecond)
          ->MinTime(0.05);
    }
  return true;
}();

}  // namespace
}  // namespace edgelane
