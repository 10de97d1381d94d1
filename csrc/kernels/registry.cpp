#include "kernels/registry.hpp"

#include <cstring>

#include "core/status.hpp"

namespace edgelane {
namespace {

constexpr KernelEntry kEntries[] = {
#define EDGELANE_KERNEL(family, name, isa, ...) {#family, #name, Isa::isa},
#include "kernels/conv2d/kernels.inc"
#include "kernels/conv_transpose2d/kernels.inc"
#include "kernels/convert/kernels.inc"
#include "kernels/depthwise/kernels.inc"
#include "kernels/detection/kernels.inc"
#include "kernels/elementwise/kernels.inc"
#include "kernels/indexing/kernels.inc"
#include "kernels/linear/kernels.inc"
#include "kernels/matmul/kernels.inc"
#include "kernels/movement/kernels.inc"
#include "kernels/normalize/kernels.inc"
#include "kernels/pool/kernels.inc"
#include "kernels/reduce/kernels.inc"
#include "kernels/resize/kernels.inc"
#include "kernels/softmax/kernels.inc"
#include "kernels/winograd/kernels.inc"
#undef EDGELANE_KERNEL
};

// <operation>_<tile>_<isa>: the operation is what stands before the tile, which holds no underscore.
bool serves(const KernelEntry& entry, const char* family, const std::string& operation) {
  if (std::strcmp(entry.family, family) != 0) return false;
  if (std::strncmp(entry.name, operation.c_str(), operation.size()) != 0 || entry.name[operation.size()] != '_') return false;
  const char* tile_end = std::strchr(entry.name + operation.size() + 1, '_');
  return tile_end != nullptr && std::strcmp(tile_end + 1, isa_name(entry.isa)) == 0;
}

}  // namespace

Span<const KernelEntry> all_kernels() noexcept { return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])}; }

std::vector<const KernelEntry*> kernel_candidates(const char* family, const std::string& operation,
                                                  const KernelOptions& options) {
  std::vector<const KernelEntry*> found;
  std::string known;
  for (const KernelEntry& entry : kEntries) {
    if (!serves(entry, family, operation)) continue;
    known += std::string(known.empty() ? "" : ", ") + entry.name;
    if (!options.kernel.empty()) {
      if (options.kernel != entry.name) continue;
      if (!isa_includes(options.isa, entry.isa)) {
        throw Error(StatusCode::unsupported, "kernel " + options.kernel + " needs " + isa_name(entry.isa) +
                                                 ", but the instruction set is " + isa_name(options.isa));
      }
      return {&entry};
    }
    if (!isa_includes(options.isa, entry.isa)) continue;
    if (!found.empty() && found.front()->isa < entry.isa) found.clear();
    if (found.empty() || found.front()->isa == entry.isa) found.push_back(&entry);
  }
  if (found.empty()) {
    throw Error(StatusCode::invalid_argument, "no kernel \"" + options.kernel + "\" for " + operation + "; known: " + known);
  }
  return found;
}

const KernelEntry& select_kernel(const char* family, const std::string& operation, const KernelOptions& options) {
  return *kernel_candidates(family, operation, options).front();
}

}  // namespace edgelane
