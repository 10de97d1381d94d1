// Load a network, run it on zeros, print the largest values of its first output and the slowest steps.
//
//     example_minimal_cpp model.lane [threads]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <numeric>
#include <vector>

#include "edgelane/edgelane.hpp"

int main(int argc, char** argv) {
  if (argc < 2 || argc > 3) {
    std::fprintf(stderr, "usage: %s model.lane [threads]\n", argv[0]);
    return 1;
  }
  try {
    edgelane::api::Options options;
    if (argc == 3 && (options.threads = std::atoi(argv[2])) < 1) {
      std::fprintf(stderr, "expected a number of threads, found %s\n", argv[2]);
      return 1;
    }
    edgelane::api::Session session(argv[1], options);

    std::vector<std::vector<char>> input_arrays, output_arrays;
    std::vector<const void*> inputs;
    std::vector<void*> outputs;
    for (const edgelane_tensor_info& info : session.inputs()) inputs.push_back(input_arrays.emplace_back(info.bytes).data());
    for (const edgelane_tensor_info& info : session.outputs()) outputs.push_back(output_arrays.emplace_back(info.bytes).data());
    session.run(inputs, outputs);

    const edgelane_tensor_info& first = session.outputs().at(0);
    std::printf("edgelane %s, %s, %d threads, output %s\n", edgelane_version(), session.isa().c_str(), session.threads(),
                first.name);
    if (first.dtype == EDGELANE_FLOAT32) {
      const auto* values = static_cast<const float*>(outputs[0]);
      std::vector<size_t> order(first.bytes / sizeof(float));
      std::iota(order.begin(), order.end(), size_t{0});
      const size_t top = std::min<size_t>(5, order.size());
      std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(top), order.end(),
                        [&](size_t a, size_t b) { return values[a] > values[b]; });
      for (size_t i = 0; i < top; ++i) std::printf("%8zu  %g\n", order[i], values[order[i]]);
    }

    std::vector<edgelane_profile_row> rows = session.profile(inputs);
    std::sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) { return a.time_us > b.time_us; });
    for (size_t i = 0; i < std::min<size_t>(5, rows.size()); ++i) {
      std::printf("%10.1f us  %-12s %-28s %-12s %5.1f %%  %s\n", rows[i].time_us, rows[i].op, rows[i].kernel, rows[i].format,
                  100.0 * rows[i].density, rows[i].step);
    }
    return 0;
  } catch (const std::exception& error) {  // edgelane::api::Error is one
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
