// The kernels of this machine against its ceilings; the results are one JSON document on stdout.
//
//   edgelane_benchmarks ceilings
//   edgelane_benchmarks roofline layers.txt [--network N] [--dtype float32|int8] [--pattern P] [--seconds S]
//   edgelane_benchmarks break-even layers.txt [the same]
//
// roofline: every layer at every sparsity in every pattern, with the kernel that the runtime chooses.
// break-even: every prunable layer, dense, and with the fastest sparse kernel at every sparsity.
//
// python -m benchmarks.kernels runs it and prints tables.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "ceilings.hpp"
#include "core/status.hpp"
#include "kernel_case.hpp"

namespace edgelane::bench {
namespace {

constexpr double kRooflineSparsities[] = {0.5, 0.7, 0.8, 0.9, 0.95};
constexpr double kBreakEvenSparsities[] = {0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9};
constexpr Pattern kDense = {"dense", 1, 1};

struct Options {
  std::string mode, layers, network, dtype, pattern;
  double seconds = 0.01;  // of running each kernel
};

// Patterns that a kernel of the type has a packing for; the others only reach one through zeros that happen to fit.
bool used(const Pattern& pattern, bool int8, const Options& options) {
  const std::string name = pattern.name;
  if (!options.pattern.empty() && name != options.pattern) return false;
  return name != (int8 ? "4x1" : "1x4");
}

bool used(const Layer& layer, const Options& options) { return options.network.empty() || layer.network == options.network; }

// Items of a JSON list: the first without a comma before it.
class Items {
 public:
  void next() {
    std::printf(first_ ? "\n" : ",\n");
    first_ = false;
  }

 private:
  bool first_ = true;
};

void print_ceilings(const Ceilings& c) {
  std::printf("{\"f32_macs_per_s\": %.6g, \"int8_macs_per_s\": %.6g,\n\"peaks\": [", c.peak(false), c.peak(true));
  Items peaks, levels, barriers;
  for (const Peak& p : c.peaks) {
    peaks.next();
    std::printf("{\"isa\": \"%s\", \"dtype\": \"%s\", \"macs_per_s\": %.6g}", p.isa.c_str(), p.int8 ? "int8" : "float32",
                p.macs_per_s);
  }
  std::printf("],\n\"read\": [");
  for (const Level& l : c.levels) {
    levels.next();
    std::printf("{\"level\": \"%s\", \"size_bytes\": %zu, \"bytes_per_s\": %.6g}", l.name.c_str(), l.size, l.bytes_per_s);
  }
  std::printf("],\n\"barrier\": [");
  for (const Barrier& b : c.barriers) {
    barriers.next();
    std::printf("{\"threads\": %d, \"us\": %.4g}", b.threads, b.seconds * 1e6);
  }
  std::printf("]}");
}

void print_layer(const Layer& l, bool int8) {
  std::printf("\"network\": \"%s\", \"layer\": \"%s\", \"uses\": %d, \"dtype\": \"%s\"", l.network.c_str(), l.name().c_str(),
              l.uses, int8 ? "int8" : "float32");
}

void print_roofline(const Layer& l, bool int8, const Pattern& pattern, double sparsity, const Measured& m, const Ceilings& c) {
  const double macs = static_cast<double>(m.info.macs), peak = c.peak(isa_name(m.info.isa), int8);
  const Level& level = c.level_for(m.bytes());
  const double compute = peak > 0 ? macs / peak : 0, reading = c.reading_seconds(m.bytes());
  std::printf("{");
  print_layer(l, int8);
  std::printf(", \"pattern\": \"%s\", \"sparsity\": %.3g, \"kernel\": \"%s\", \"format\": \"%s\", \"us\": %.5g, ", pattern.name,
              sparsity, m.info.kernel.c_str(), m.info.format.c_str(), m.seconds * 1e6);
  std::printf("\"macs\": %lld, \"dense_macs\": %lld, \"op_per_s\": %.5g, ", static_cast<long long>(m.info.macs),
              static_cast<long long>(m.info.dense_macs), 2 * macs / m.seconds);
  std::printf("\"weight_bytes\": %zu, \"input_bytes\": %zu, \"output_bytes\": %zu, \"bytes_per_s\": %.5g, ", m.weight_bytes,
              m.input_bytes, m.output_bytes, static_cast<double>(m.bytes()) / m.seconds);
  std::printf("\"bound\": \"%s\", \"of_ceiling\": %.4g}", compute >= reading ? "multiply-adds" : level.name.c_str(),
              std::max(compute, reading) / m.seconds);
}

void roofline(const Options& options, const Ceilings& ceilings) {
  Items items;
  for (const Layer& layer : read_layers(options.layers)) {
    if (!used(layer, options)) continue;
    for (const bool int8 : {false, true}) {
      if (!options.dtype.empty() && int8 != (options.dtype == "int8")) continue;
      std::fprintf(stderr, "%s %s %s\n", layer.network.c_str(), layer.name().c_str(), int8 ? "int8" : "float32");
      const auto roofline_row = [&](const Pattern& pattern, double sparsity) {
        TimedLayer timed(layer, int8, pattern, sparsity, "");
        timed.time(options.seconds);
        items.next();
        print_roofline(layer, int8, pattern, sparsity, timed.measured(), ceilings);
      };
      roofline_row(kDense, 0);
      if (!layer.prunable) continue;
      for (const Pattern& pattern : kPatterns) {
        if (!used(pattern, int8, options)) continue;
        for (const double sparsity : kRooflineSparsities) roofline_row(pattern, sparsity);
      }
    }
  }
}

// A layer by every kernel that skips at least half of the zeros, at one sparsity: one that skips next to none is the dense layer
// under another name.
struct SparsePoint {
  double sparsity;
  std::vector<TimedLayer> kernels;
};

SparsePoint sparse_point(const Layer& layer, bool int8, const Pattern& pattern, double sparsity) {
  SparsePoint point{sparsity, {}};
  for (const std::string& kernel : kernels_for(layer, int8)) {
    try {
      TimedLayer timed(layer, int8, pattern, sparsity, kernel);
      const KernelInfo& info = timed.measured().info;
      const double skipped = 1 - static_cast<double>(info.macs) / static_cast<double>(info.dense_macs);
      if (skipped >= sparsity / 2) point.kernels.push_back(std::move(timed));
    } catch (const Error&) {
      continue;  // a kernel that does not take this shape
    }
  }
  return point;
}

void break_even(const Options& options) {
  // Dense and all sparsities in turn, several times over: a fast moment of the machine is then one for each of them.
  constexpr int kRounds = 5;
  Items items;
  for (const Layer& layer : read_layers(options.layers)) {
    if (!used(layer, options) || !layer.prunable) continue;
    for (const bool int8 : {false, true}) {
      if (!options.dtype.empty() && int8 != (options.dtype == "int8")) continue;
      for (const Pattern& pattern : kPatterns) {
        if (!used(pattern, int8, options)) continue;
        std::fprintf(stderr, "%s %s %s %s\n", layer.network.c_str(), layer.name().c_str(), int8 ? "int8" : "float32",
                     pattern.name);
        TimedLayer dense(layer, int8, kDense, 0, "");
        std::vector<SparsePoint> points;
        for (const double sparsity : kBreakEvenSparsities) points.push_back(sparse_point(layer, int8, pattern, sparsity));
        for (int round = 0; round < kRounds; ++round) {
          dense.time(options.seconds / kRounds);
          for (SparsePoint& point : points)
            for (TimedLayer& kernel : point.kernels) kernel.time(options.seconds / kRounds);
        }
        items.next();
        std::printf("{");
        print_layer(layer, int8);
        std::printf(", \"pattern\": \"%s\", \"dense_us\": %.5g, \"points\": [", pattern.name, dense.measured().seconds * 1e6);
        const char* separator = "";
        for (const SparsePoint& point : points) {
          const auto fastest = std::min_element(
              point.kernels.begin(), point.kernels.end(),
              [](const TimedLayer& a, const TimedLayer& b) { return a.measured().seconds < b.measured().seconds; });
          if (fastest == point.kernels.end()) continue;
          const Measured& m = fastest->measured();
          std::printf("%s{\"sparsity\": %.3g, \"us\": %.5g, \"kernel\": \"%s\"}", separator, point.sparsity, m.seconds * 1e6,
                      m.info.kernel.c_str());
          separator = ", ";
        }
        std::printf("]}");
      }
    }
  }
}

Options parse(int count, char** words) {
  Options o;
  if (count > 1) o.mode = words[1];
  const bool takes_layers = o.mode == "roofline" || o.mode == "break-even";
  if (!takes_layers && o.mode != "ceilings") throw std::runtime_error("expected ceilings, roofline or break-even");
  if (takes_layers && count < 3) throw std::runtime_error("expected the list of layers after " + o.mode);
  if (takes_layers) o.layers = words[2];
  for (int i = takes_layers ? 3 : 2; i < count; i += 2) {
    const std::string key = words[i];
    if (i + 1 == count) throw std::runtime_error("expected a value after " + key);
    const std::string value = words[i + 1];
    if (key == "--network")
      o.network = value;
    else if (key == "--dtype" && (value == "float32" || value == "int8"))
      o.dtype = value;
    else if (key == "--pattern")
      o.pattern = value;
    else if (key == "--seconds" && std::atof(words[i + 1]) > 0)
      o.seconds = std::atof(words[i + 1]);
    else
      throw std::runtime_error("unknown option or value: " + key + " " + value);
  }
  return o;
}

void run(const Options& options) {
  const Ceilings ceilings = measure_ceilings();
  std::printf("{\"cpu\": \"%s\", \"isa\": \"%s\",\n\"ceilings\": ", cpu_name().c_str(), isa_name(select_isa("")));
  print_ceilings(ceilings);
  if (options.mode != "ceilings") {
    std::printf(",\n\"%s\": [", options.mode == "roofline" ? "roofline" : "break_even");
    if (options.mode == "roofline")
      roofline(options, ceilings);
    else
      break_even(options);
    std::printf("]");
  }
  std::printf("}\n");
}

}  // namespace
}  // namespace edgelane::bench

int main(int count, char** words) {
  try {
    edgelane::bench::run(edgelane::bench::parse(count, words));
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "edgelane_benchmarks: %s\n", error.what());
    return 1;
  }
}
