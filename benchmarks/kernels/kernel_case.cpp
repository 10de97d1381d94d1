#include "kernel_case.hpp"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <random>
#include <sstream>
#include <stdexcept>

#include "core/aligned_buffer.hpp"
#include "kernels/conv2d/conv2d.hpp"
#include "kernels/linear/linear.hpp"
#include "kernels/registry.hpp"
#include "timing.hpp"

namespace edgelane::bench {
namespace {

// Exactly the asked share of the blocks is zero, whatever the seed; every other weight is not.
template <class T>
std::vector<T> make_weights(const Layer& l, const Pattern& pattern, double sparsity) {
  const int ic = l.ic / l.groups, taps = l.kernel_h * l.kernel_w;
  const int rows = (l.oc + pattern.block_oc - 1) / pattern.block_oc, columns = (ic + pattern.block_ic - 1) / pattern.block_ic;
  std::vector<bool> zero(static_cast<size_t>(rows) * columns * taps);
  std::fill_n(zero.begin(), static_cast<size_t>(sparsity * static_cast<double>(zero.size()) + 0.5), true);
  std::mt19937 random(1);
  std::shuffle(zero.begin(), zero.end(), random);
  std::vector<T> weights(static_cast<size_t>(l.oc) * ic * taps);
  size_t i = 0;
  for (int o = 0; o < l.oc; ++o)
    for (int c = 0; c < ic; ++c)
      for (int t = 0; t < taps; ++t, ++i) {
        const size_t block = (static_cast<size_t>(o / pattern.block_oc) * columns + c / pattern.block_ic) * taps + t;
        weights[i] = zero[block] ? T{0} : static_cast<T>(1 + (o * 7 + c * 3 + t) % 50);
      }
  return weights;
}

// As in a network, where tensors of one map share a border, so that results are stored without a look at each row.
Conv2dProblem conv_problem(const Layer& l) {
  const int pad_h = (l.kernel_h - 1) / 2 * l.dilation, pad_w = (l.kernel_w - 1) / 2 * l.dilation;
  Conv2dProblem p;
  const Border shared{1, 1, 1, 1};  // of most maps: some 3x3 layer reads them
  p.input = PlanarLayout(1, l.ic, l.height, l.width, shared.merged(Border{pad_h, pad_w, pad_h, pad_w}));
  const int out_h = (l.height - 1) / l.stride + 1, out_w = (l.width - 1) / l.stride + 1;
  p.output = PlanarLayout(1, l.oc, out_h, out_w, shared);
  p.kernel_h = l.kernel_h;
  p.kernel_w = l.kernel_w;
  p.stride_h = p.stride_w = l.stride;
  p.dilation_h = p.dilation_w = l.dilation;
  p.pad_top = pad_h;
  p.pad_left = pad_w;
  p.groups = l.groups;
  p.activation = {ActivationKind::relu, 0, 0};
  return p;
}

const char* family_of(const Layer& l, bool int8) {
  if (l.op == "linear") return int8 ? "linear_s8" : "linear_f32";
  return int8 ? "conv2d_s8" : "conv2d_f32";
}

std::unique_ptr<PreparedKernel> prepare(const Layer& l, bool int8, const Pattern& pattern, double sparsity,
                                        const KernelOptions& options, const Conv2dProblem& conv, const LinearProblem& linear) {
  const bool is_linear = l.op == "linear";
  if (int8) {
    static const float scale = 0.01f;
    Conv2dS8Params quant;
    quant.input = {0.02f, 0};
    quant.weight_scales = {&scale, 1};
    quant.output = {1.0f, 0};
    const std::vector<int8_t> weights = make_weights<int8_t>(l, pattern, sparsity);
    const std::vector<int32_t> bias(static_cast<size_t>(l.oc), 1);
    return is_linear ? prepare_linear_s8(linear, quant, weights, bias, options)
                     : prepare_conv2d_s8(conv, quant, weights, bias, options);
  }
  const std::vector<float> weights = make_weights<float>(l, pattern, sparsity);
  const std::vector<float> bias(static_cast<size_t>(l.oc), 1.0f);
  return is_linear ? prepare_linear_f32(linear, weights, bias, options) : prepare_conv2d_f32(conv, weights, bias, options);
}

}  // namespace

std::string Layer::name() const {
  std::ostringstream text;
  if (op == "linear") {
    text << "linear " << ic << "-" << oc;
    return text.str();
  }
  text << kernel_h << "x" << kernel_w << (groups == ic && groups > 1 ? " depthwise " : " ") << ic << "-" << oc << " @" << width
       << "x" << height;
  if (stride > 1) text << " stride " << stride;
  if (dilation > 1) text << " dilation " << dilation;
  if (groups > 1 && groups != ic) text << " groups " << groups;
  return text.str();
}

std::vector<Layer> read_layers(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error("cannot read " + path);
  std::vector<Layer> layers;
  std::string line;
  for (int number = 1; std::getline(file, line); ++number) {
    if (line.empty() || line[0] == '#') continue;
    std::istringstream words(line);
    Layer l;
    std::string prunable;
    words >> l.network >> l.op >> l.ic >> l.oc >> l.kernel_h >> l.kernel_w >> l.stride >> l.dilation >> l.groups >> l.height >>
        l.width >> l.uses >> prunable;
    if (!words || (l.op != "conv2d" && l.op != "linear") || (prunable != "prunable" && prunable != "dense"))
      throw std::runtime_error(path + ", line " + std::to_string(number) + " is not a layer: " + line);
    l.prunable = prunable == "prunable";
    layers.push_back(l);
  }
  return layers;
}

TimedLayer::TimedLayer(const Layer& layer, bool int8, const Pattern& pattern, double sparsity, const std::string& kernel) {
  KernelOptions options;
  options.isa = select_isa("");
  options.kernel = kernel;
  const Conv2dProblem conv = conv_problem(layer);
  LinearProblem linear;
  linear.ic = layer.ic;
  linear.oc = layer.oc;
  prepared_ = prepare(layer, int8, pattern, sparsity, options, conv, linear);

  const bool is_linear = layer.op == "linear";
  const size_t element = int8 ? 1 : sizeof(float);
  measured_.info = prepared_->info();
  measured_.weight_bytes = prepared_->packed_bytes();
  measured_.input_bytes = is_linear ? layer.ic * element : conv.input.bytes(int8);
  measured_.output_bytes = is_linear ? layer.oc * element : conv.output.bytes(int8);
  x_ = AlignedBuffer<uint8_t>(measured_.input_bytes);
  y_ = AlignedBuffer<uint8_t>(measured_.output_bytes);
  workspace_ = AlignedBuffer<uint8_t>(prepared_->workspace_bytes());
  // Zeros too: pages never written would be one page in a cache.
  std::memset(x_.data(), int8 ? kActivationBias : 0, x_.size());
}

void TimedLayer::time(double seconds) {
  constexpr int kRuns = 2;
  ThreadPool pool(1);
  const void* inputs[] = {x_.data(), nullptr};
  const KernelArgs args{inputs, y_.data(), workspace_.data(), &pool};
  measured_.seconds = std::min(measured_.seconds, shortest([&] { prepared_->run(args); }, seconds, kRuns));
}

std::vector<std::string> kernels_for(const Layer& layer, bool int8) {
  KernelOptions options;
  options.isa = select_isa("");
  const char* family = family_of(layer, int8);
  std::vector<std::string> names;
  for (const KernelEntry* entry : kernel_candidates(family, family, options)) names.emplace_back(entry->name);
  return names;
}

}  // namespace edgelane::bench
