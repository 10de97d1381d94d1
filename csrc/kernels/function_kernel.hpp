// A prepared step made of one callable; what the families build their PreparedKernels from.
#pragma once

#include <initializer_list>
#include <memory>
#include <utility>
#include <vector>

#include "kernels/registry.hpp"

// What a family compiles once for each instruction set, as scalar::symbol, avx2::symbol, avx512::symbol and neon::symbol.
#if defined(__x86_64__)
#define EDGELANE_FOR_ISA(isa, symbol) \
  ((isa) >= Isa::avx512 ? &avx512::symbol : (isa) >= Isa::avx2 ? &avx2::symbol : &scalar::symbol)
#elif defined(__aarch64__)
#define EDGELANE_FOR_ISA(isa, symbol) ((isa) >= Isa::neon ? &neon::symbol : &scalar::symbol)
#else
#define EDGELANE_FOR_ISA(isa, symbol) (static_cast<void>(isa), &scalar::symbol)
#endif

namespace edgelane {

// `run` is called with the KernelArgs; it must neither throw nor allocate.
template <class Run>
class FunctionKernel final : public PreparedKernel {
 public:
  FunctionKernel(const KernelEntry& entry, size_t workspace_bytes, Run run, size_t packed_bytes,
                 std::initializer_list<bool> replaceable, std::vector<int64_t> places)
      : run_(std::move(run)) {
    info_.kernel = entry.name;
    info_.format = "-";
    info_.isa = entry.isa;
    workspace_bytes_ = workspace_bytes;
    packed_bytes_ = packed_bytes;
    size_t input = 0;
    for (const bool allowed : replaceable) {
      if (allowed) allow_replacing(input);
      ++input;
    }
    allow_inside_output(std::move(places));
  }
  void run(const KernelArgs& args) const noexcept override { run_(args); }

 private:
  Run run_;
};

// packed_bytes: what `run` keeps in memory of its own. replaceable: for each input, whether the output may take its place.
// places: PreparedKernel::place_in_output of each input.
template <class Run>
std::unique_ptr<PreparedKernel> make_kernel(const KernelEntry& entry, size_t workspace_bytes, Run run, size_t packed_bytes = 0,
                                            std::initializer_list<bool> replaceable = {}, std::vector<int64_t> places = {}) {
  return std::make_unique<FunctionKernel<Run>>(entry, workspace_bytes, std::move(run), packed_bytes, replaceable,
                                               std::move(places));
}

}  // namespace edgelane
