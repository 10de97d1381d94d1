// A loaded network, ready to run: kernels chosen, weights packed, one arena for all activations.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/aligned_buffer.hpp"
#include "core/cpu_features.hpp"
#include "core/thread_pool.hpp"
#include "kernels/kernel.hpp"
#include "runtime/limits.hpp"
#include "runtime/memory_plan.hpp"
#include "runtime/model.hpp"

namespace edgelane {

struct SessionOptions {
  std::optional<int> threads;  // the caller's own thread included; without, one for each of `cores`, or one
  std::string isa;             // as select_isa takes it
  std::string cores;           // as select_cores takes it
  bool self_test = false;      // load only what computes its golden frame's answer, see Session::self_test
  std::optional<uint64_t> memory_limit_bytes, operation_limit;  // as select_limits takes them
};

// An input or output as the caller sees it: a dense row-major array.
struct TensorSpec {
  std::string name;
  DType dtype = DType::float32;
  std::vector<int64_t> shape;
  bool variable_rows = false;  // shape[0] is an upper bound; rows that are not needed come last and hold -1
  size_t bytes = 0;
  bool quantized = false;  // int8: real = quant.scale * (q - quant.zero_point)
  QuantParams quant;
};

struct StepRow {
  std::string step;  // the ONNX node's name, or the input's or output's
  std::string op;    // an op of export/FORMAT.md, "import" or "export"
  KernelInfo kernel;
};

struct ProfileRow : StepRow {
  double time_us = 0.0;
};

// One output of the golden frame, as this session computes it.
struct GoldenRow {
  std::string output;
  bool agrees = true;
  double error = 0.0;   // largest difference relative to the largest expected magnitude (absolute where that is 0), dequantised
  std::string message;  // one line for an output that does not agree
};

// Throws the Error that stands for Session::run's only failure.
[[noreturn]] void fail_busy();

class Session {
 public:
  // Both throw Error and leave nothing behind when they do. `name` stands for the path in messages.
  static std::unique_ptr<Session> load(const std::string& path, const SessionOptions& options);
  static std::unique_ptr<Session> load(AlignedBuffer<uint8_t> file, const std::string& name, const SessionOptions& options);

  const std::vector<TensorSpec>& inputs() const { return input_specs_; }
  const std::vector<TensorSpec>& outputs() const { return output_specs_; }
  const std::string& metadata() const { return metadata_; }
  const std::string& plan() const { return plan_text_; }
  Isa isa() const { return isa_; }
  int threads() const { return pool_.threads(); }
  size_t arena_bytes() const { return arena_.bytes(); }
  size_t packed_bytes() const { return packed_bytes_; }

  // One array for each input and output, in the order of inputs() and outputs(), of TensorSpec::bytes bytes at any address. No
  // allocation, no exception. invalid_argument: another thread is in this session; use one session for each thread.
  StatusCode run(const void* const* inputs, void* const* outputs) noexcept;

  // The least time of each step among `repeats` runs, after one that is not counted. Throws Error(invalid_argument) for repeats <
  // 1 and where another thread is in this session.
  std::vector<ProfileRow> profile(const void* const* inputs, int repeats);

  // The kernel and the packing that this CPU's instruction set got for each step.
  std::vector<StepRow> steps() const;

  // Runs the golden frame: a row for each output, or none where the file holds no golden frame. Throws Error(invalid_argument)
  // where another thread is in this session.
  std::vector<GoldenRow> compare_golden();

  // The largest GoldenRow::error, or nothing where the file holds no golden frame. Throws as compare_golden does.
  std::optional<double> check_golden();

  // Throws Error(self_test_failed) where an output does not agree with the golden frame or the file holds none.
  void self_test();

 private:
  struct BoundStep {
    std::unique_ptr<PreparedKernel> kernel;
    std::string name;
    Op op = Op::conv2d;
    std::vector<const void*> inputs;
    void* output = nullptr;
    void* workspace = nullptr;
  };
  struct BoundArray {
    TensorDesc desc;
    void* activation = nullptr;
  };
  struct Golden {
    std::vector<std::vector<uint8_t>> inputs, outputs;
    std::vector<GoldenRule> rules;  // of the outputs
  };

  // Weights are taken out of the model's file as they are packed.
  Session(Model& model, Isa isa, int threads, const std::vector<int>& cores);
  template <class Read>
  static std::unique_ptr<Session> load(const std::string& name, const SessionOptions& options, const Read& read);
  void request_activations(const Model& model, const std::vector<TensorDesc>& descs);
  void prepare(Model& model, const std::vector<TensorDesc>& descs);
  void replace_inputs(const Model& model);
  void place_inputs(const Model& model);
  void request_workspaces();
  void plan_arena(const Limits& limits);
  void bind(const Model& model, const std::vector<TensorDesc>& descs);
  void keep_golden(const Model& model);
  void describe_plan(const Model& model, const std::vector<TensorDesc>& descs);
  // Calls timed(i, f) for each of the inputs, steps and outputs in turn; timed calls f.
  template <class Timed>
  void run_all(const void* const* inputs, void* const* outputs, const Timed& timed) noexcept;

  Isa isa_;
  ThreadPool pool_;
  std::vector<TensorSpec> input_specs_, output_specs_;
  std::string metadata_, plan_text_;
  std::vector<BoundStep> steps_;
  std::vector<BoundArray> imports_, exports_;
  std::vector<BufferRequest> requests_;  // activations by slot, then workspaces by step
  std::vector<int> slots_;               // tensor index to request, kAbsent for weights
  MemoryPlan memory_;
  AlignedBuffer<uint8_t> arena_;
  size_t packed_bytes_ = 0;
  Golden golden_;
  std::atomic<bool> busy_{false};
};

}  // namespace edgelane
