// Reading .lane files: from bytes that nobody vouches for to a Model whose every number has been checked (export/FORMAT.md).
#pragma once

#include <string>

#include "runtime/model.hpp"

namespace edgelane {

// Throws Error(not_found) where the file cannot be read, Error(invalid_file) where it is not a sound .lane file; the message
// begins with the path. The model keeps the limits, which go on to hold for what is made of it.
Model load_model(const std::string& path, const Limits& limits = {});

// The same for a file that is in memory already; `name` stands for the path in messages.
Model parse_model(AlignedBuffer<uint8_t> file, const std::string& name, const Limits& limits = {});

// The part of the check that concerns one step: dtypes, shapes and quantisation of its tensors are what its op asks for.
void check_step(const Model& model, const Step& step);

}  // namespace edgelane
