// One layer with zeros in one pattern, prepared and timed.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "core/aligned_buffer.hpp"
#include "kernels/kernel.hpp"

namespace edgelane::bench {

// One line of layers.txt.
struct Layer {
  std::string network, op;  // "conv2d" or "linear"
  int ic, oc, kernel_h, kernel_w, stride, dilation, groups, height, width, uses;
  bool prunable;

  std::string name() const;  // "3x3 64-64 @56x56"
};

// Throws std::runtime_error for a file that cannot be read, with the number of a line that is wrong.
std::vector<Layer> read_layers(const std::string& path);

struct Pattern {
  const char* name;
  int block_oc, block_ic;
};
constexpr Pattern kPatterns[] = {{"unstructured", 1, 1}, {"4x1", 4, 1}, {"1x4", 1, 4}, {"4x4", 4, 4}};

struct Measured {
  KernelInfo info;
  double seconds = std::numeric_limits<double>::max();
  size_t weight_bytes = 0, input_bytes = 0, output_bytes = 0;
  size_t bytes() const { return weight_bytes + input_bytes + output_bytes; }
};

// The layer with `sparsity` of the pattern's blocks zero, prepared to be timed on one thread. An empty `kernel` leaves the choice
// to the family.
class TimedLayer {
 public:
  TimedLayer(const Layer& layer, bool int8, const Pattern& pattern, double sparsity, const std::string& kernel);
  // Runs it for `seconds`; the shortest run of all calls counts.
  void time(double seconds);
  const Measured& measured() const { return measured_; }

 private:
  std::unique_ptr<PreparedKernel> prepared_;
  AlignedBuffer<uint8_t> x_, y_, workspace_;
  Measured measured_;
};

// Names of the kernels of the layer's family that belong to the best instruction set here that has any.
std::vector<std::string> kernels_for(const Layer& layer, bool int8);

}  // namespace edgelane::bench
