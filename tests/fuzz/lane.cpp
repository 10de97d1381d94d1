// The .lane loader under libFuzzer: parse, prepare a session, run it. `make fuzz` builds and runs it; see README.md here.
#include <fstream>

#include "lane_mutator.hpp"
#include "runtime/every_op.hpp"
#include "runtime/hostile_file.hpp"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace {

using edgelane::AlignedBuffer;
using edgelane::testing::kAbsentInput;
using edgelane::testing::LaneMutator;
using edgelane::testing::LaneWriter;
using edgelane::testing::mended;
using edgelane::testing::StepRecord;
using edgelane::testing::TensorRecord;

size_t put(const AlignedBuffer<uint8_t>& file, uint8_t* data, size_t max_size) {
  if (file.size() > max_size) return 0;
  std::memcpy(data, file.data(), file.size());
  return file.size();
}

// A file with one step of another: what it reads and is no constant becomes an input, what it writes an output.
LaneWriter only_step(const LaneWriter& all, StepRecord step) {
  LaneWriter w;
  const auto take_name = [&](auto& record) {
    const std::string name = all.strings.substr(record.name_offset, record.name_length);
    record.name_offset = static_cast<uint32_t>(w.strings.size());
    w.strings += name;
  };
  const auto take_cells = [&](uint32_t& first, uint32_t count) {
    const auto from = all.cells.begin() + first;
    first = static_cast<uint32_t>(w.cells.size());
    w.cells.insert(w.cells.end(), from, from + count);
  };
  std::vector<uint32_t> moved(all.tensors.size(), kAbsentInput);
  for (uint32_t i = 0; i <= step.input_count; ++i) {
    const uint32_t index = all.io[step.first_io + i];
    if (index != kAbsentInput && moved[index] == kAbsentInput) {
      TensorRecord t = all.tensors[index];
      moved[index] = static_cast<uint32_t>(w.tensors.size());
      take_name(t);
      take_cells(t.first_scale, t.scale_count);
      if (i == step.input_count) t.kind = 3;
      if (i < step.input_count && t.kind != 1) t.kind = 2;
      if (t.kind == 1) {
        const auto from = all.data.begin() + static_cast<std::ptrdiff_t>(t.data_offset);
        w.data.resize(edgelane::align_up(w.data.size()));
        t.data_offset = w.data.size();
        w.data.insert(w.data.end(), from, from + static_cast<std::ptrdiff_t>(t.data_bytes));
      }
      w.tensors.push_back(t);
    }
    w.io.push_back(index == kAbsentInput ? index : moved[index]);
  }
  for (uint32_t i = 0; i < step.attribute_count; ++i) {
    w.attributes.push_back(all.attributes[step.first_attribute + i]);
    take_cells(w.attributes.back().first, w.attributes.back().count);
  }
  take_name(step);
  step.first_io = step.first_attribute = 0;
  w.steps = {step};
  return w;
}

void write_seeds(const std::string& folder) {
  const auto write = [&](const LaneWriter& w, const std::string& name) {
    const AlignedBuffer<uint8_t> file = w.file();
    std::ofstream(folder + "/" + name + ".lane", std::ios::binary)
        .write(reinterpret_cast<const char*>(file.data()), static_cast<std::streamsize>(file.size()));
  };
  const LaneWriter all = edgelane::testing::every_op_writer();
  write(all, "every_op");
  for (size_t i = 0; i < all.steps.size(); ++i) write(only_step(all, all.steps[i]), "step_" + std::to_string(i));
}

}  // namespace

// `-seeds=FOLDER` writes the files to begin with, made from the tests' network with every op, and ends.
extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  const std::string option = "-seeds=";
  for (int i = 1; i < *argc; ++i) {
    const std::string argument = (*argv)[i];
    if (argument.compare(0, option.size(), option) == 0) {
      write_seeds(argument.substr(option.size()));
      std::exit(0);
    }
  }
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  edgelane::testing::try_hostile_file(data, size);
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned int seed) {
  LaneMutator mutator(seed);
  LaneWriter w;
  if (mutator.one_in(16) || !LaneMutator::read(data, size, w)) {
    const size_t changed = LLVMFuzzerMutate(data, size, max_size);
    return put(mended(data, changed), data, max_size);
  }
  mutator.mutate(w);
  const size_t written = put(w.file(), data, max_size);
  return written != 0 ? written : size;
}

extern "C" size_t LLVMFuzzerCustomCrossOver(const uint8_t* data1, size_t size1, const uint8_t* data2, size_t size2, uint8_t* out,
                                            size_t max_out, unsigned int seed) {
  LaneMutator mutator(seed);
  LaneWriter w, other;
  if (!LaneMutator::read(data1, size1, w) || !LaneMutator::read(data2, size2, other)) return 0;
  mutator.append(w, other);
  if (mutator.one_in(2)) mutator.mutate(w);
  return put(w.file(), out, max_out);
}
