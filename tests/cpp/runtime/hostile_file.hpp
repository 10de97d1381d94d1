// What must hold for any bytes that are taken for a .lane file: an Error, or a network that runs and gives the same bits again.
// The fuzzer (tests/fuzz/lane.cpp) looks for files that break it, and model_corpus_test.cpp keeps trying those it has found.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "runtime/file_reader.hpp"
#include "runtime/lane_writer.hpp"
#include "runtime/session.hpp"

namespace edgelane::testing {

// Small, so that no file takes longer than a blink.
constexpr uint64_t kHostileMemoryBytes = uint64_t{64} << 20, kHostileOperations = uint64_t{1} << 26;

// The same bytes with the size and the checksum that belong to them, so that what lies behind these two checks is reached.
inline AlignedBuffer<uint8_t> mended(const uint8_t* data, size_t size) {
  AlignedBuffer<uint8_t> file(size);
  if (size != 0) std::memcpy(file.data(), data, size);
  if (size < kHeaderBytes) return file;
  const uint64_t bytes = size;
  std::memcpy(file.data() + 16, &bytes, sizeof(bytes));
  reseal(file);
  return file;
}

// Numbers that callers pass, and some that only a hostile one would. Bytes of bools are 0 or 1, as their type says.
inline std::vector<uint8_t> hostile_input(const TensorSpec& spec, uint32_t seed) {
  std::vector<uint8_t> array(spec.bytes);
  uint32_t state = seed * 2654435761u + 1;
  const auto next = [&] { return (state = state * 1664525u + 1013904223u) >> 8; };
  const uint32_t kind = next() % 4;
  const size_t width = dtype_bytes(spec.dtype), count = spec.bytes / width;
  for (size_t i = 0; i < count; ++i) {
    uint8_t* to = array.data() + i * width;
    if (spec.dtype == DType::float32) {
      constexpr float kHostile[] = {0.0f,         -0.0f, 1e38f, -1e38f, 1e-45f, HUGE_VALF, -HUGE_VALF, static_cast<float>(NAN),
                                    2147483648.0f};
      float value = static_cast<float>(next()) / static_cast<float>(1 << 23) - 1.0f;
      if (kind == 1) value *= 100.0f;
      if (kind == 2 && next() % 4 == 0) value = kHostile[next() % (sizeof(kHostile) / sizeof(kHostile[0]))];
      std::memcpy(to, &value, width);
    } else if (spec.dtype == DType::boolean) {
      *to = static_cast<uint8_t>(next() % 2);
    } else if (kind == 3) {
      for (size_t k = 0; k < width; ++k) to[k] = static_cast<uint8_t>(next());
    } else {  // indices near a small axis
      const int64_t value = static_cast<int64_t>(next() % 16) - (kind == 2 ? 12 : 4);
      std::memcpy(to, &value, width);
    }
  }
  return array;
}

// Loads and runs the file. Ends the process where the second run gives other bits than the first.
inline bool try_hostile_file(const uint8_t* data, size_t size) {
  AlignedBuffer<uint8_t> file = mended(data, size);
  uint32_t seed = 1;
  if (size >= kHeaderBytes)
    std::memcpy(&seed, file.data() + 24, sizeof(seed));  // of the checksum: any number, the same every time
  const std::vector<Isa> isas = available_isas();
  SessionOptions options;
  options.threads = seed % 16 == 0 ? 2 : 1;
  options.isa = isa_name(isas[seed / 16 % isas.size()]);
  options.memory_limit_bytes = kHostileMemoryBytes;
  options.operation_limit = kHostileOperations;
  std::unique_ptr<Session> session;
  try {
    session = Session::load(std::move(file), "hostile.lane", options);
  } catch (const Error&) {
    return false;
  }
  std::vector<std::vector<uint8_t>> inputs, first, second;
  std::vector<const void*> sources;
  std::vector<void*> targets[2];
  for (const TensorSpec& spec : session->inputs()) sources.push_back(inputs.emplace_back(hostile_input(spec, seed++)).data());
  first.reserve(session->outputs().size());
  second.reserve(session->outputs().size());
  for (const TensorSpec& spec : session->outputs()) {
    targets[0].push_back(first.emplace_back(spec.bytes, uint8_t{0x11}).data());
    targets[1].push_back(second.emplace_back(spec.bytes, uint8_t{0xEE}).data());
  }
  for (const std::vector<void*>& to : targets) {
    if (session->run(sources.data(), to.data()) != StatusCode::ok) std::abort();
  }
  for (size_t i = 0; i < first.size(); ++i) {
    if (first[i] != second[i]) {
      std::fprintf(stderr, "output %zu differs between two runs on the same input\n%s", i, session->plan().c_str());
      std::abort();
    }
  }
  session->check_golden();
  return true;
}

}  // namespace edgelane::testing
