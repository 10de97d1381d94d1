// A camera's loop: take a frame every period, run the network, count the deadlines missed, and print the latency's percentiles.
//
//     example_camera_loop_cpp model.lane [frames.raw | -] [frames per second] [frames to run] [threads]
//
// frames.raw holds frames one after the other, each as the network's input wants it (row-major, its dtype); it is read round and
// round. "-" stands for a frame of zeros. A frame's deadline is the next frame; a loop that falls behind skips the frames it
// missed, as a driver that keeps only the newest one does. The file's golden frame is run first: its self-test must pass.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "edgelane/edgelane.hpp"

namespace {

using Clock = std::chrono::steady_clock;

std::vector<char> read_frames(const std::string& path, size_t frame_bytes) {
  if (path == "-") return std::vector<char>(frame_bytes);
  std::ifstream file(path, std::ios::binary);
  std::vector<char> frames;
  if (file.peek() != std::ifstream::traits_type::eof())  // a folder opens, and throws when it is read
    frames.assign(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  if (!file || frames.empty() || frames.size() % frame_bytes != 0) {
    const std::string message =
        path + ": expected frames of " + std::to_string(frame_bytes) + " bytes, found " + std::to_string(frames.size());
    throw edgelane::api::Error(EDGELANE_INVALID_ARGUMENT, message.c_str());
  }
  return frames;
}

// Nearest rank, of sorted values.
double percentile(const std::vector<double>& sorted, double share) {
  const auto rank = static_cast<size_t>(std::ceil(share * static_cast<double>(sorted.size())));
  return sorted[std::min(sorted.size(), std::max<size_t>(rank, 1)) - 1];
}

// The whole of `text` as a number from `low` to `high`.
double number(const char* text, const char* name, double low, double high) {
  char* end = nullptr;
  const double value = std::strtod(text, &end);
  if (end == text || *end != '\0' || !(value >= low && value <= high)) {
    char message[256];
    std::snprintf(message, sizeof(message), "expected %s from %g to %g, found %s", name, low, high, text);
    throw edgelane::api::Error(EDGELANE_INVALID_ARGUMENT, message);
  }
  return value;
}

int run(int argc, char** argv) {
  const std::string source = argc > 2 ? argv[2] : "-";
  const double rate = argc > 3 ? number(argv[3], "frames per second", 0.001, 1e6) : 30.0;
  const int count = argc > 4 ? static_cast<int>(number(argv[4], "frames to run", 1, 1e8)) : 300;
  edgelane::api::Options options;
  options.self_test = true;  // a machine that computes something else must not drive
  if (argc > 5) options.threads = static_cast<int>(number(argv[5], "threads", 1, 1024));

  edgelane::api::Session session(argv[1], options);
  if (session.inputs().size() != 1) throw edgelane::api::Error(EDGELANE_INVALID_ARGUMENT, "expected a network with one input");
  const size_t frame_bytes = session.inputs()[0].bytes;
  const std::vector<char> frames = read_frames(source, frame_bytes);
  const size_t frame_count = frames.size() / frame_bytes;

  // Everything the loop touches exists before it starts.
  std::vector<std::vector<char>> output_arrays;
  std::vector<void*> outputs;
  for (const edgelane_tensor_info& info : session.outputs()) outputs.push_back(output_arrays.emplace_back(info.bytes).data());
  std::vector<const void*> inputs = {frames.data()};
  std::vector<double> latencies_ms;
  latencies_ms.reserve(static_cast<size_t>(count));
  for (int i = 0; i < 5; ++i) session.run(inputs, outputs);  // page tables and caches are warm when the camera starts

  const auto period = std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(1.0 / rate));
  const Clock::time_point start = Clock::now();
  int missed = 0;
  long skipped = 0, tick = 0;
  for (int i = 0; i < count; ++i) {
    const Clock::time_point arrival = start + tick * period;
    std::this_thread::sleep_until(arrival);
    inputs[0] = frames.data() + static_cast<size_t>(tick) % frame_count * frame_bytes;
    session.run(inputs, outputs);
    const Clock::time_point end = Clock::now();
    latencies_ms.push_back(std::chrono::duration<double, std::milli>(end - arrival).count());
    const long passed = static_cast<long>((end - arrival) / period);  // frames that arrived meanwhile
    if (passed >= 1) {
      ++missed;
      skipped += passed - 1;
    }
    tick += std::max(passed, 1L);
  }

  std::sort(latencies_ms.begin(), latencies_ms.end());
  std::printf("%d frames at %.1f per second, %s, %d threads\n", count, rate, session.isa().c_str(), session.threads());
  std::printf("latency from a frame's arrival to its result: min %.3f ms  p50 %.3f  p90 %.3f  p99 %.3f  p99.9 %.3f  max %.3f\n",
              latencies_ms.front(), percentile(latencies_ms, 0.50), percentile(latencies_ms, 0.90),
              percentile(latencies_ms, 0.99), percentile(latencies_ms, 0.999), latencies_ms.back());
  std::printf("deadlines missed: %d of %d (%.2f %%), frames skipped: %ld\n", missed, count, 100.0 * missed / count, skipped);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2 || argc > 6) {
    std::fprintf(stderr, "usage: %s model.lane [frames.raw | -] [frames per second] [frames to run] [threads]\n", argv[0]);
    return 1;
  }
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {  // edgelane::api::Error is one
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
