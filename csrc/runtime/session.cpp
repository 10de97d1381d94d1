#include "runtime/session.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <exception>
#include <iomanip>
#include <limits>
#include <new>
#include <sstream>

#include "core/cores.hpp"
#include "core/pages.hpp"
#include "kernels/check.hpp"
#include "runtime/agreement.hpp"
#include "runtime/layout_plan.hpp"
#include "runtime/message.hpp"
#include "runtime/model_file.hpp"
#include "runtime/op_table.hpp"
#include "runtime/prepare.hpp"
#include "runtime/transfer.hpp"

namespace edgelane {
namespace {

TensorSpec spec_of(const Tensor& t) {
  TensorSpec spec;
  spec.name = t.name;
  spec.dtype = t.dtype;
  spec.shape.assign(t.dims, t.dims + t.rank);
  spec.bytes = static_cast<size_t>(t.elements()) * dtype_bytes(t.dtype);
  spec.quantized = t.dtype == DType::int8;
  spec.quant = t.quant();
  return spec;
}

// Marks the session as running; false where it is already.
class BusyGuard {
 public:
  explicit BusyGuard(std::atomic<bool>& busy) noexcept : busy_(busy), entered_(!busy.exchange(true, std::memory_order_acquire)) {}
  ~BusyGuard() {
    if (entered_) busy_.store(false, std::memory_order_release);
  }
  BusyGuard(const BusyGuard&) = delete;
  BusyGuard& operator=(const BusyGuard&) = delete;
  bool entered() const noexcept { return entered_; }
  void expect_entered() const {
    if (!entered_) fail_busy();
  }

 private:
  std::atomic<bool>& busy_;
  const bool entered_;
};

// Gives the file's copy of weights back to the system once every step that reads them has packed its own.
class WeightReleaser {
 public:
  explicit WeightReleaser(Model& model) : model_(model), readers_(model.tensors.size()) {
    for (const Step& step : model.steps) for_each_weight(step, [&](size_t tensor) { ++readers_[tensor]; });
    const std::vector<bool> activations = find_activations(model);
    for (size_t i = 0; i < activations.size(); ++i) readers_[i] += activations[i];  // read when the arena is there
  }
  void release(const Step& step) noexcept {
    for_each_weight(step, [&](size_t tensor) {
      const Span<const uint8_t> data = model_.tensors[tensor].data;
      if (--readers_[tensor] == 0 && !data.empty()) {
        discard_pages(model_.file.data() + (data.data() - model_.file.data()), data.size());
      }
    });
  }

 private:
  template <class F>
  static void for_each_weight(const Step& step, const F& f) noexcept {
    for (size_t i = 0; i < step.inputs.size(); ++i) {
      if (step.inputs[i] != kAbsent && is_weight_input(step.op, i)) f(static_cast<size_t>(step.inputs[i]));
    }
  }
  Model& model_;
  std::vector<std::atomic<int>> readers_;
};

[[noreturn]] void rethrow(const std::exception_ptr& exception, const Step& step) {
  try {
    std::rethrow_exception(exception);
  } catch (const Error& error) {
    // What a kernel refuses of a file that passed its checks is a limit of the kernel, and no mistake of the caller.
    const StatusCode code = error.code() == StatusCode::invalid_argument ? StatusCode::unsupported : error.code();
    throw Error(code, message("step ", quoted(step.name), " (", op_name(step.op), "): ", error.what()));
  }
}

}  // namespace

void fail_busy() {
  fail(StatusCode::invalid_argument, "the session is running in another thread; use one session for each thread");
}

std::unique_ptr<Session> Session::load(const std::string& path, const SessionOptions& options) {
  return load(path, options, [&](const Limits& limits) { return load_model(path, limits); });
}

std::unique_ptr<Session> Session::load(AlignedBuffer<uint8_t> file, const std::string& name, const SessionOptions& options) {
  return load(name, options, [&](const Limits& limits) { return parse_model(std::move(file), name, limits); });
}

template <class Read>
std::unique_ptr<Session> Session::load(const std::string& name, const SessionOptions& options, const Read& read) {
  const Isa isa = select_isa(options.isa);  // a mistake of the caller comes before one of the file
  const std::vector<int> cores = select_cores(options.cores);
  const int threads = options.threads.value_or(options.cores.empty() ? 1 : static_cast<int>(cores.size()));
  check_cores(cores, threads);
  const Limits limits = select_limits(options.memory_limit_bytes, options.operation_limit);
  try {
    Model model = read(limits);
    try {
      std::unique_ptr<Session> session(new Session(model, isa, threads, cores));
      if (options.self_test) session->self_test();
      return session;
    } catch (const Error& error) {  // the reader's errors begin with the name already
      throw Error(error.code(), name + ": " + error.what());
    }
  } catch (const std::bad_alloc&) {
    throw Error(StatusCode::out_of_memory, name + ": not enough memory to load the model");
  }
}

Session::Session(Model& model, Isa isa, int threads, const std::vector<int>& cores)
    : isa_(isa), pool_(threads, cores), metadata_(model.metadata) {
  for (const int i : model.inputs) input_specs_.push_back(spec_of(model.tensors[static_cast<size_t>(i)]));
  for (const int i : model.outputs) output_specs_.push_back(spec_of(model.tensors[static_cast<size_t>(i)]));
  for (const Step& step : model.steps) {
    const auto output = std::find(model.outputs.begin(), model.outputs.end(), step.output);
    if (step.op == Op::non_max_suppression && output != model.outputs.end())
      output_specs_[static_cast<size_t>(output - model.outputs.begin())].variable_rows = true;
  }
  const std::vector<TensorDesc> descs = plan_layouts(model);
  request_activations(model, descs);
  plan_arena(model.limits);  // refuses networks that do not fit before a kernel makes tables for them
  prepare(model, descs);
  replace_inputs(model);
  place_inputs(model);
  request_workspaces();
  plan_arena(model.limits);
  bind(model, descs);
  keep_golden(model);
  describe_plan(model, descs);
}

// Steps are prepared side by side, each by itself. A step is left out only when an earlier one has failed, so that the error that
// is reported, of the first step that has one, is the same for any number of threads.
void Session::prepare(Model& model, const std::vector<TensorDesc>& descs) {
  KernelOptions options;
  options.isa = isa_;
  options.threads = threads();
  steps_.resize(model.steps.size());
  std::vector<std::exception_ptr> errors(steps_.size());
  std::atomic<int> first_failure{static_cast<int>(steps_.size())};
  std::atomic<size_t> packed_bytes{0};
  const auto fail_at = [&](int task) {
    int first = first_failure.load();
    while (task < first && !first_failure.compare_exchange_weak(first, task)) continue;
  };
  WeightReleaser weights(model);
  pool_.parallel_for(static_cast<int>(steps_.size()), [&](int task, int) {
    if (first_failure.load(std::memory_order_relaxed) < task) return;
    const auto i = static_cast<size_t>(task);
    const Step& step = model.steps[i];
    BoundStep& bound = steps_[i];
    const MemoryLimit limit(model.limits.memory_bytes);
    try {
      bound.name = step.name;
      bound.op = step.op;
      bound.kernel = prepare_step(model, descs, step, options);
      const size_t bytes = bound.kernel->packed_bytes();
      if (packed_bytes.fetch_add(bytes) + bytes > model.limits.memory_bytes) fail_at(task);
      weights.release(step);
    } catch (...) {
      errors[i] = std::current_exception();
      fail_at(task);
    }
  });
  for (size_t i = 0; i < steps_.size(); ++i) {
    if (errors[i]) rethrow(errors[i], model.steps[i]);
    packed_bytes_ += steps_[i].kernel->packed_bytes();
    if (packed_bytes_ > model.limits.memory_bytes) {
      fail(StatusCode::invalid_file, "expected packed weights and tables of at most ", model.limits.memory_bytes,
           " bytes, found more at step ", quoted(model.steps[i].name));
    }
  }
}

// Times: 0 is the import of the inputs, i + 1 is step i, the last is the export of the outputs.
void Session::request_activations(const Model& model, const std::vector<TensorDesc>& descs) {
  const int export_time = static_cast<int>(model.steps.size()) + 1;
  const std::vector<bool> activation = find_activations(model);
  slots_.assign(model.tensors.size(), kAbsent);
  for (size_t i = 0; i < model.tensors.size(); ++i) {
    if (!activation[i]) continue;
    const Tensor& t = model.tensors[i];
    slots_[i] = static_cast<int>(requests_.size());
    // A constant is written once, while loading, so nothing else may ever use its memory.
    requests_.push_back({t.name, descs[i].bytes(), 0, t.constant() ? export_time : 0});
  }
  for (size_t i = 0; i < model.steps.size(); ++i) {
    const int time = static_cast<int>(i) + 1;
    const Step& step = model.steps[i];
    BufferRequest& output = requests_[static_cast<size_t>(slots_[static_cast<size_t>(step.output)])];
    output.first = time;
    output.last = time;
    for (const int input : kernel_inputs(step)) {
      if (input == kAbsent) continue;
      BufferRequest& request = requests_[static_cast<size_t>(slots_[static_cast<size_t>(input)])];
      request.last = std::max(request.last, time);
    }
  }
  for (const int i : model.outputs) {
    const int slot = slots_[static_cast<size_t>(i)];
    if (slot != kAbsent) requests_[static_cast<size_t>(slot)].last = export_time;  // else it has no elements
  }
}

// An output takes the place of an input that dies in the step, where the kernel can work like that: reshapes then cost nothing,
// and element-wise steps and residual additions no memory of their own.
void Session::replace_inputs(const Model& model) {
  for (size_t i = 0; i < model.steps.size(); ++i) {
    const Step& step = model.steps[i];
    const std::vector<int> inputs = kernel_inputs(step);
    BufferRequest& output = requests_[static_cast<size_t>(slots_[static_cast<size_t>(step.output)])];
    for (size_t k = 0; k < inputs.size() && output.replaces < 0; ++k) {
      if (inputs[k] == kAbsent || !steps_[i].kernel->may_replace(k)) continue;
      const int slot = slots_[static_cast<size_t>(inputs[k])];
      const BufferRequest& input = requests_[static_cast<size_t>(slot)];
      const bool read_once = std::count(inputs.begin(), inputs.end(), inputs[k]) == 1;
      if (read_once && input.last == output.first && input.bytes == output.bytes) output.replaces = slot;
    }
  }
}

// Inputs of a concatenation are computed where they end up, if that goes for all of them: the output's memory is taken from the
// first of them on, and would be taken twice for one that is copied.
void Session::place_inputs(const Model& model) {
  for (size_t i = 0; i < model.steps.size(); ++i) {
    const PreparedKernel& kernel = *steps_[i].kernel;
    const std::vector<int> inputs = kernel_inputs(model.steps[i]);
    const int slot = slots_[static_cast<size_t>(model.steps[i].output)];
    const BufferRequest& output = requests_[static_cast<size_t>(slot)];
    const auto request = [&](size_t k) -> BufferRequest& {
      return requests_[static_cast<size_t>(slots_[static_cast<size_t>(inputs[k])])];
    };
    bool all = output.replaces < 0;
    for (size_t k = 0; k < inputs.size() && all; ++k) {
      all = inputs[k] != kAbsent && kernel.place_in_output(k) >= 0 && request(k).last == output.first &&
            std::count(inputs.begin(), inputs.end(), inputs[k]) == 1;
    }
    for (size_t k = 0; k < inputs.size() && all; ++k) {
      request(k).inside = slot;
      request(k).at = static_cast<size_t>(kernel.place_in_output(k));
    }
  }
}

void Session::request_workspaces() {
  for (size_t i = 0; i < steps_.size(); ++i) {
    const int time = static_cast<int>(i) + 1;
    requests_.push_back({steps_[i].name + " workspace", steps_[i].kernel->workspace_bytes(), time, time});
  }
}

void Session::plan_arena(const Limits& limits) {
  memory_ = plan_memory(requests_);
  const std::string wrong = verify_memory_plan(requests_, memory_);
  if (!wrong.empty()) fail(StatusCode::unsupported, "the memory plan is not sound: ", wrong);
  if (memory_.arena_bytes > limits.memory_bytes - packed_bytes_) {
    fail(StatusCode::invalid_file, "expected activations of at most ", limits.memory_bytes - packed_bytes_,
         " bytes at a time beside ", packed_bytes_, " bytes of packed weights and tables, found ", memory_.arena_bytes);
  }
}

void Session::bind(const Model& model, const std::vector<TensorDesc>& descs) {
  // All of it in large pages, from half of one on: pruned int8 ResNet-50s, with 1.8 MB, took 1 to 2 % less time.
  const size_t bytes = memory_.arena_bytes;
  arena_ = AlignedBuffer<uint8_t>(bytes < kLargePageBytes / 2 ? bytes : align_up(bytes, kLargePageBytes));
  const auto address = [&](int tensor) -> void* {
    return arena_.data() + memory_.offsets[static_cast<size_t>(slots_[static_cast<size_t>(tensor)])];
  };
  for (size_t i = 0; i < model.steps.size(); ++i) {
    BoundStep& bound = steps_[i];
    for (const int input : kernel_inputs(model.steps[i])) bound.inputs.push_back(input == kAbsent ? nullptr : address(input));
    bound.output = address(model.steps[i].output);
    bound.workspace = arena_.data() + memory_.offsets[memory_.offsets.size() - steps_.size() + i];
  }
  const auto array = [&](int tensor) -> BoundArray {
    const auto i = static_cast<size_t>(tensor);
    return {descs[i], slots_[i] == kAbsent ? nullptr : address(tensor)};
  };
  for (const int i : model.inputs) imports_.push_back(array(i));
  for (const int i : model.outputs) exports_.push_back(array(i));
  for (size_t i = 0; i < model.tensors.size(); ++i) {
    if (model.tensors[i].constant() && slots_[i] != kAbsent) {
      import_array(descs[i], model.tensors[i].data.data(), address(static_cast<int>(i)), pool_);
    }
  }
}

void Session::keep_golden(const Model& model) {
  const auto golden_of = [&](int tensor) {
    return std::find_if(model.golden.begin(), model.golden.end(), [&](const GoldenTensor& g) { return g.tensor == tensor; });
  };
  if (model.golden.empty()) return;
  for (const int i : model.inputs) golden_.inputs.emplace_back(golden_of(i)->data.begin(), golden_of(i)->data.end());
  for (const int i : model.outputs) {
    golden_.outputs.emplace_back(golden_of(i)->data.begin(), golden_of(i)->data.end());
    golden_.rules.push_back(golden_of(i)->rule);
  }
}

void Session::describe_plan(const Model& model, const std::vector<TensorDesc>& descs) {
  std::ostringstream out;
  size_t separate = 0;
  for (const BufferRequest& r : requests_) separate += r.bytes;
  out << "arena " << arena_.bytes() << " bytes (" << separate << " without sharing), packed weights " << packed_bytes_
      << " bytes, " << isa_name(isa_) << ", " << threads() << (threads() == 1 ? " thread\n" : " threads\n");
  const auto buffer = [&](const BufferRequest& r, size_t offset) {
    out << "    at " << std::setw(10) << offset << "  " << std::setw(10) << r.bytes << " bytes  steps " << r.first - 1 << ".."
        << r.last - 1 << "  " << r.name;
  };
  const auto tensor = [&](int index) {
    const auto i = static_cast<size_t>(index);
    const auto slot = static_cast<size_t>(slots_[i]);
    buffer(requests_[slot], memory_.offsets[slot]);
    out << ' ' << dtype_name(descs[i].dtype) << list(model.tensors[i].shape());
    if (requests_[slot].replaces >= 0) out << " in place of " << requests_[static_cast<size_t>(requests_[slot].replaces)].name;
    if (requests_[slot].inside >= 0) out << " inside " << requests_[static_cast<size_t>(requests_[slot].inside)].name;
    if (descs[i].planar()) {
      const Border& b = descs[i].layout.border;
      out << " pitch " << descs[i].layout.pitch << " border " << b.top << ' ' << b.left << ' ' << b.bottom << ' ' << b.right;
    }
    out << '\n';
  };
  for (size_t i = 0; i < model.tensors.size(); ++i) {
    if (slots_[i] != kAbsent && (model.tensors[i].constant() || model.tensors[i].kind == TensorKind::input))
      tensor(static_cast<int>(i));
  }
  const size_t first_workspace = requests_.size() - steps_.size();
  for (size_t i = 0; i < steps_.size(); ++i) {
    const KernelInfo& info = steps_[i].kernel->info();
    out << "step " << i << ' ' << quoted(steps_[i].name) << ' ' << op_name(steps_[i].op) << ' ' << info.kernel << ' '
        << info.format << '\n';
    tensor(model.steps[i].output);
    const BufferRequest& workspace = requests_[first_workspace + i];
    if (workspace.bytes != 0) {
      buffer(workspace, memory_.offsets[first_workspace + i]);
      out << '\n';
    }
  }
  plan_text_ = out.str();
}

template <class Timed>
void Session::run_all(const void* const* inputs, void* const* outputs, const Timed& timed) noexcept {
  size_t row = 0;
  for (size_t i = 0; i < imports_.size(); ++i) {
    timed(row++, [&] {
      if (imports_[i].activation != nullptr) import_array(imports_[i].desc, inputs[i], imports_[i].activation, pool_);
    });
  }
  for (const BoundStep& step : steps_) {
    timed(row++, [&] { step.kernel->run({step.inputs.data(), step.output, step.workspace, &pool_}); });
  }
  for (size_t i = 0; i < exports_.size(); ++i) {
    timed(row++, [&] {
      if (exports_[i].activation != nullptr) export_array(exports_[i].desc, exports_[i].activation, outputs[i], pool_);
    });
  }
}

StatusCode Session::run(const void* const* inputs, void* const* outputs) noexcept {
  const BusyGuard guard(busy_);
  if (!guard.entered()) return StatusCode::invalid_argument;
  run_all(inputs, outputs, [](size_t, const auto& f) { f(); });
  return StatusCode::ok;
}

std::vector<ProfileRow> Session::profile(const void* const* inputs, int repeats) {
  if (repeats < 1) fail(StatusCode::invalid_argument, "expected repeats of 1 or more, found ", repeats);
  const BusyGuard guard(busy_);
  guard.expect_entered();
  std::vector<ProfileRow> rows;
  const auto add_transfers = [&](const std::vector<TensorSpec>& specs, const char* op) {
    for (const TensorSpec& spec : specs) {
      KernelInfo copy;
      copy.kernel = op;
      copy.format = "-";
      rows.push_back({{spec.name, op, copy}, 0.0});
    }
  };
  add_transfers(input_specs_, "import");
  for (StepRow& step : steps()) rows.push_back({std::move(step), 0.0});
  add_transfers(output_specs_, "export");

  std::vector<std::vector<uint8_t>> results;
  std::vector<void*> outputs;
  for (const TensorSpec& spec : output_specs_) outputs.push_back(results.emplace_back(spec.bytes).data());
  for (ProfileRow& row : rows) row.time_us = std::numeric_limits<double>::infinity();
  run_all(inputs, outputs.data(), [](size_t, const auto& f) { f(); });
  using Clock = std::chrono::steady_clock;
  for (int i = 0; i < repeats; ++i) {
    run_all(inputs, outputs.data(), [&](size_t row, const auto& f) {
      const Clock::time_point begin = Clock::now();
      f();
      const double time_us = std::chrono::duration<double, std::micro>(Clock::now() - begin).count();
      rows[row].time_us = std::min(rows[row].time_us, time_us);
    });
  }
  return rows;
}

std::vector<StepRow> Session::steps() const {
  std::vector<StepRow> rows;
  for (const BoundStep& step : steps_) rows.push_back({step.name, op_name(step.op), step.kernel->info()});
  return rows;
}

std::vector<GoldenRow> Session::compare_golden() {
  std::vector<GoldenRow> rows;
  if (golden_.outputs.empty()) return rows;
  std::vector<const void*> inputs;
  for (const std::vector<uint8_t>& input : golden_.inputs) inputs.push_back(input.data());
  std::vector<std::vector<uint8_t>> found;
  std::vector<void*> outputs;
  for (const TensorSpec& spec : output_specs_) outputs.push_back(found.emplace_back(spec.bytes).data());
  const BusyGuard guard(busy_);
  guard.expect_entered();
  run_all(inputs.data(), outputs.data(), [](size_t, const auto& f) { f(); });
  for (size_t i = 0; i < found.size(); ++i) {
    rows.push_back(compare_output(output_specs_[i], golden_.rules[i], golden_.outputs[i].data(), found[i].data()));
  }
  return rows;
}

std::optional<double> Session::check_golden() {
  std::optional<double> error;
  for (const GoldenRow& row : compare_golden()) error = std::max(error.value_or(0.0), row.error);
  return error;
}

void Session::self_test() {
  const std::vector<GoldenRow> rows = compare_golden();
  if (rows.empty()) {
    fail(StatusCode::self_test_failed,
         "self-test failed: expected a golden frame, found none; compile the file with --golden random or --golden IMAGE");
  }
  for (const GoldenRow& row : rows) {
    if (!row.agrees) fail(StatusCode::self_test_failed, "self-test failed on ", isa_name(isa_), ": ", row.message);
  }
}

}  // namespace edgelane
