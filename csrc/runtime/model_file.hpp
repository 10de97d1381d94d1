// Reading .lane files: from bytes that nobody vouches for to a Model whose every number has been checked (export/FORMAT.md).
#pragma once

#include <string>

#include "runtime/model.hpp"

namespace edgelane {

// What this reader accepts besides what the format says, so that a small hostile file cannot ask for unbounded memory.
constexpr size_t kMaxTensors = 65536;
constexpr size_t kMaxNameBytes = 1024;
constexpr int kMaxImageSide = 1 << 20;                   // height and width of rank-4 float32 and int8 activations
constexpr int64_t kMaxWindow = 65535;                    // windows, strides, dilations and paddings
constexpr int64_t kMaxConstantBytes = int64_t{1} << 30;  // of one constant, its zero blocks written out
constexpr size_t kMaxArenaBytes = size_t{2} << 30;       // of all activations that live at the same time, borders included

// Throws Error(not_found) where the file cannot be read, Error(invalid_file) where it is not a sound .lane file; the message
// begins with the path.
Model load_model(const std::string& path);

// The same for a file that is in memory already; `name` stands for the path in messages.
Model parse_model(AlignedBuffer<uint8_t> file, const std::string& name);

// The part of the check that concerns one step: dtypes, shapes and quantisation of its tensors are what its op asks for.
void check_step(const Model& model, const Step& step);

}  // namespace edgelane
