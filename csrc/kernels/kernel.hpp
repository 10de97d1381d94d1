// What every kernel family hands to the runtime: a step that is bound to shapes, weights and an instruction set, ready to run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/cpu_features.hpp"
#include "core/thread_pool.hpp"
#include "formats/activation.hpp"
#include "formats/layout.hpp"
#include "formats/quantization.hpp"

namespace edgelane {

// Pointers of one call. Activations are 64-byte aligned. Inputs are in the family's documented order.
struct KernelArgs {
  const void* const* inputs = nullptr;
  void* output = nullptr;
  void* workspace = nullptr;  // PreparedKernel::workspace_bytes, 64-byte aligned, uninitialised, shared by all threads
  ThreadPool* pool = nullptr;
};

struct KernelInfo {
  std::string kernel;    // <op>_<dtype>_<tile>_<isa>
  std::string format;    // how the weights are packed: "dense", "4x4", "1x4", "unstructured" ...; "-" without weights
  double density = 1.0;  // nonzero weights / weights
  int64_t macs = 0;      // multiply-accumulates that the packing executes, for the whole batch
  int64_t dense_macs = 0;
  Isa isa = Isa::scalar;
};

class PreparedKernel {
 public:
  virtual ~PreparedKernel() = default;
  virtual void run(const KernelArgs& args) const noexcept = 0;  // no allocation, no throw
  const KernelInfo& info() const { return info_; }
  size_t workspace_bytes() const { return workspace_bytes_; }
  size_t packed_bytes() const { return packed_bytes_; }
  // Whether the output may lie where input `i` does, whose values are then gone: the kernel reads each of its elements at the
  // latest when it writes the output's element there, and nowhere else, and both have the same layout.
  bool may_replace(size_t i) const { return i < 32 && (replaceable_inputs_ >> i & 1) != 0; }
  // Where in the output, in bytes from its beginning, input `i` is a part of it as it stands, so that an input that lies there
  // need not be copied; -1: nowhere.
  int64_t place_in_output(size_t i) const { return i < places_in_output_.size() ? places_in_output_[i] : -1; }

 protected:
  void allow_replacing(size_t i) { replaceable_inputs_ |= uint32_t{1} << i; }
  void allow_inside_output(std::vector<int64_t> places) { places_in_output_ = std::move(places); }

  KernelInfo info_;
  size_t workspace_bytes_ = 0;
  uint32_t replaceable_inputs_ = 0;
  std::vector<int64_t> places_in_output_;
  size_t packed_bytes_ = 0;  // weights, and tables that grow with shapes, as this kernel keeps them
};

// What a caller may fix. An empty `kernel` lets the family choose the fastest one for the instruction set.
struct KernelOptions {
  Isa isa = Isa::scalar;
  std::string
      kernel;       // a name from the family's kernels.inc, to force it (tests and benchmarks); unknown: Error(invalid_argument)
  int threads = 1;  // that will run the step, at most; what is cut into tasks is cut into a multiple of it where that is cheap
  // To force what conv2d otherwise chooses for each layer (tests and benchmarks); 0: chosen.
  int tile_vectors = 0;  // vectors of positions in a tile, at most the kernel's
  int chunk_planes = 0;  // source planes of a chunk
};

}  // namespace edgelane
