// A small network with every op of the format, in float32 and int8, with sparse and dense weights, residuals and constants.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "runtime/lane_writer.hpp"
#include "runtime/session.hpp"

namespace edgelane::testing {

// Numbers that look random and are the same on every machine.
class Numbers {
 public:
  explicit Numbers(uint32_t seed) : state_(seed * 2654435761u + 1) {}
  uint32_t next() {
    state_ = state_ * 1664525u + 1013904223u;
    return state_ >> 8;
  }
  int below(int n) { return static_cast<int>(next() % static_cast<uint32_t>(n)); }
  float real() { return static_cast<float>(next()) / static_cast<float>(1 << 23) - 1.0f; }  // -1 to 1

  std::vector<float> floats(size_t count, float size = 1.0f) {
    std::vector<float> v(count);
    for (float& x : v) x = size * real();
    return v;
  }
  template <class T>
  std::vector<T> integers(size_t count, int limit) {
    std::vector<T> v(count);
    for (T& x : v) x = static_cast<T>(below(2 * limit + 1) - limit);
    return v;
  }
  std::vector<float> scales(size_t count) {
    std::vector<float> v(count);
    for (float& x : v) x = 0.01f + 0.01f * (real() + 1.0f);
    return v;
  }

 private:
  uint32_t state_;
};

// Sets whole blocks to zero where `keep` says no.
template <class T>
std::vector<T> with_zero_blocks(std::vector<T> dense, int oc, int ic, int taps, int block_oc, int block_ic, Numbers& numbers) {
  for (int o0 = 0; o0 < oc; o0 += block_oc) {
    for (int i0 = 0; i0 < ic; i0 += block_ic) {
      for (int tap = 0; tap < taps; ++tap) {
        if (numbers.below(3) == 0) continue;
        for (int o = o0; o < std::min(oc, o0 + block_oc); ++o) {
          for (int i = i0; i < std::min(ic, i0 + block_ic); ++i) dense[static_cast<size_t>((o * ic + i) * taps + tap)] = T{0};
        }
      }
    }
  }
  return dense;
}

inline LaneWriter every_op_writer() {
  using K = AttributeKey;
  LaneWriter w;
  Numbers r(7);
  const auto f32 = DType::float32, s8 = DType::int8;
  const auto same = ints(K::pads, {1, 1, 1, 1});

  const uint32_t x = w.input("x", f32, {1, 8, 8, 8});
  const uint32_t ids = w.input("ids", DType::int64, {4});

  // float32
  const uint32_t w1 = w.sparse_constant("w1", {8, 8, 3, 3}, with_zero_blocks(r.floats(8 * 8 * 9, 0.3f), 8, 8, 9, 4, 4, r), 4, 4);
  const uint32_t b1 = w.constant("b1", {8}, r.floats(8));
  const uint32_t a = w.intermediate("a", f32, {1, 8, 8, 8});
  w.step("conv", Op::conv2d, {x, w1, b1}, a, {same, ints(K::activation, {1})});
  const uint32_t w2 = w.constant("w2", {8, 1, 3, 3}, r.floats(8 * 9));
  const uint32_t b = w.intermediate("b", f32, {1, 8, 8, 8});
  w.step("depthwise with residual", Op::conv2d, {a, w2, kAbsentInput, x}, b, {same, ints(K::groups, {8})});
  const uint32_t mp = w.intermediate("mp", f32, {1, 8, 4, 4}), ap = w.intermediate("ap", f32, {1, 8, 4, 4});
  w.step("max_pool", Op::max_pool2d, {b}, mp, {ints(K::kernel_shape, {3, 3}), ints(K::strides, {2, 2}), same});
  w.step("average_pool", Op::average_pool2d, {b}, ap, {ints(K::kernel_shape, {2, 2}), ints(K::strides, {2, 2})});
  const uint32_t sum = w.intermediate("sum", f32, {1, 8, 4, 4}), af = w.intermediate("af", f32, {1, 8, 4, 4});
  w.step("add", Op::binary, {mp, ap}, sum, {ints(K::function, {0})});
  w.step(
      "affine", Op::affine,
      {sum, w.constant("scale", {8}, r.floats(8)), w.constant("shift", {8}, r.floats(8)), w.constant("below", {8}, r.floats(8))},
      af);
  const uint32_t pr = w.intermediate("pr", f32, {1, 8, 4, 4}), cs = w.intermediate("cs", f32, {1, 8, 4, 4});
  w.step("prelu", Op::prelu, {af, w.constant("slope", {8}, r.floats(8))}, pr);
  w.step("shuffle", Op::channel_shuffle, {pr}, cs, {ints(K::groups, {2})});
  const uint32_t ct = w.intermediate("ct", f32, {1, 4, 8, 8}), up = w.intermediate("up", f32, {1, 8, 8, 8});
  w.step("conv_transpose", Op::conv_transpose2d,
         {cs, w.constant("wt", {8, 4, 2, 2}, r.floats(8 * 4 * 4)), kAbsentInput, w.constant("slopes", {4}, r.floats(4))}, ct,
         {ints(K::strides, {2, 2})});
  w.step("resize", Op::resize, {cs}, up, {ints(K::mode, {1}), floats(K::scales, {2.0, 2.0})});
  const uint32_t cat = w.intermediate("cat", f32, {1, 12, 8, 8}), sl = w.intermediate("sl", f32, {1, 6, 8, 8});
  w.step("concat", Op::concat, {ct, up}, cat, {ints(K::axis, {1})});
  w.step("slice", Op::slice, {cat}, sl, {ints(K::starts, {0, 1, 0, 0}), ints(K::steps, {1, 2, 1, 1})});
  const uint32_t pd = w.intermediate("pd", f32, {1, 6, 10, 10}), tr = w.intermediate("tr", f32, {1, 10, 10, 6});
  w.step("pad", Op::pad, {sl}, pd, {ints(K::before, {0, 0, 1, 1}), ints(K::mode, {1})});
  w.step("transpose", Op::transpose, {pd}, tr, {ints(K::perm, {0, 2, 3, 1})});
  const uint32_t li = w.intermediate("li", f32, {1, 10, 10, 5}), sm = w.intermediate("sm", f32, {1, 10, 10, 5});
  w.step("linear of planes", Op::linear, {tr, w.constant("wl", {5, 6}, r.floats(30)), w.constant("bl", {5}, r.floats(5))}, li);
  const uint32_t ml = w.intermediate("ml", f32, {1, 10, 10, 5});
  w.step("matmul of planes", Op::matmul, {li, w.constant("right", {5, 5}, r.floats(25))}, ml);
  const uint32_t no = w.intermediate("no", f32, {1, 10, 10, 5});
  w.step("normalize", Op::normalize, {ml, w.constant("gamma", {5}, r.floats(5)), w.constant("beta", {5}, r.floats(5))}, no,
         {ints(K::axis, {3}), floats(K::epsilon, {1e-6})});
  w.step("softmax", Op::softmax, {no}, sm, {ints(K::axis, {3})});
  const uint32_t rm = w.intermediate("rm", f32, {1, 1, 1, 5}), flat = w.intermediate("flat", f32, {1, 5});
  w.step("mean", Op::reduce, {sm}, rm, {ints(K::axes, {1, 2})});
  w.step("reshape", Op::reshape, {rm}, flat);
  const uint32_t un = w.intermediate("un", f32, {1, 5}), scores = w.output("scores", f32, {1, 5});
  w.step("tanh", Op::unary, {flat}, un, {ints(K::activation, {9})});
  w.step("log_softmax", Op::log_softmax, {un}, scores, {ints(K::axis, {1})});

  // int32
  const uint32_t left = w.constant("left", {2, 3, 4}, r.integers<int32_t>(24, 1 << 20));
  w.step("int32 matmul", Op::matmul, {left, w.constant("counts", {4, 2}, r.integers<int32_t>(8, 1 << 20))},
         w.intermediate("int32 products", DType::int32, {2, 3, 2}));

  // int8
  const uint32_t q = w.intermediate("q", s8, {1, 12, 8, 8}, 0.05f, 3);
  w.step("quantize", Op::quantize, {cat}, q);
  const uint32_t w3 = w.sparse_constant(
      "w3", {7, 12, 3, 3}, with_zero_blocks(r.integers<int8_t>(7 * 12 * 9, 127), 7, 12, 9, 1, 4, r), 1, 4, r.scales(7));
  const uint32_t b3 = w.constant("b3", {7}, r.integers<int32_t>(7, 2000));
  const uint32_t q1 = w.intermediate("q1", s8, {1, 7, 4, 4}, 0.2f, -5), q2 = w.intermediate("q2", s8, {1, 7, 4, 4}, 0.3f, 4);
  w.step("int8 conv", Op::conv2d, {q, w3, b3}, q1,
         {same, ints(K::strides, {2, 2}), ints(K::activation, {2}), floats(K::activation_params, {-9, 9})});
  const uint32_t w4 = w.constant("w4", {7, 7, 1, 1}, r.integers<int8_t>(49, 127), {0.01f});
  w.step("int8 conv with residual", Op::conv2d, {q1, w4, kAbsentInput, q1}, q2,
         {floats(K::intermediate_scale, {0.25}), ints(K::intermediate_zero_point, {2}), ints(K::activation, {1})});
  const uint32_t rq = w.intermediate("rq", s8, {1, 7, 4, 4}, 0.25f, 0), qs = w.output("qs", s8, {1, 7, 4, 4}, 0.3f, 1);
  w.step("requantize", Op::requantize, {q2}, rq);
  w.step("int8 add of a constant", Op::binary, {rq, w.constant("offset", {1, 7, 1, 1}, r.integers<int8_t>(7, 90), {0.1f})}, qs,
         {ints(K::function, {0})});
  const uint32_t gap = w.intermediate("gap", s8, {1, 7, 1, 1}, 0.3f, 1), rows = w.intermediate("rows", s8, {1, 7}, 0.3f, 1);
  w.step("global_average_pool", Op::global_average_pool, {qs}, gap);
  w.step("int8 reshape", Op::reshape, {gap}, rows);
  const uint32_t logits = w.output("logits", f32, {1, 3}), means = w.output("means", f32, {1, 7, 1, 1});
  w.step("int8 linear", Op::linear, {rows, w.constant("w5", {3, 7}, r.integers<int8_t>(21, 127), r.scales(3))}, logits);
  w.step("dequantize", Op::dequantize, {gap}, means);

  // images, casts
  const uint32_t image = w.intermediate("image", DType::uint8, {1, 12, 8, 8});
  w.step("recode to uint8", Op::recode, {q}, image);
  const uint32_t q8 = w.intermediate("q8", s8, {1, 12, 8, 8}, 1.0f, 0), cf = w.intermediate("cf", f32, {1, 12, 8, 8});
  const uint32_t ci = w.intermediate("ci", DType::int64, {1, 12, 8, 8});
  w.step("recode", Op::recode, {image}, q8);
  w.step("cast to float32", Op::cast, {image}, cf);
  w.step("cast to int64", Op::cast, {q8}, ci);
  w.step("cast to int32", Op::cast, {ci}, w.output("whole", DType::int32, {1, 12, 8, 8}));
  const uint32_t nonzero = w.output("nonzero", DType::boolean, {1, 12, 8, 8});
  w.step("cast to bool", Op::cast, {cf}, nonzero);

  // comparisons, logic, integers
  const uint32_t below = w.intermediate("below zero", DType::boolean, {1, 12, 8, 8}),
                 mask = w.intermediate("mask", DType::boolean, {1, 12, 8, 8});
  w.step("less", Op::binary, {cat, w.constant("zero", {1}, std::vector<float>{0.0f})}, below, {ints(K::function, {10})});
  w.step("and", Op::binary, {below, nonzero}, mask, {ints(K::function, {12})});
  w.step("where", Op::where, {mask, cat, w.constant("row", {8}, r.floats(8))}, w.output("chosen", f32, {1, 12, 8, 8}));
  const uint32_t nan = w.intermediate("nan", DType::boolean, {1, 12, 8, 8}),
                 fine = w.intermediate("fine", DType::boolean, {1, 12, 8, 8});
  w.step("is_nan", Op::unary, {cat}, nan, {ints(K::activation, {39})});
  w.step("not", Op::unary, {nan}, fine, {ints(K::activation, {38})});
  w.step("int8 where", Op::where, {fine, q8, w.constant("filler", {12, 1, 1}, r.integers<int8_t>(12, 90), {1.0f})},
         w.output("filled", s8, {1, 12, 8, 8}, 1.0f, 0));
  const uint32_t rest = w.intermediate("rest", DType::int64, {4});
  w.step("mod", Op::binary, {ids, w.constant("divisor", {4}, std::vector<int64_t>{3, -5, 0, -1})}, rest,
         {ints(K::function, {7})});
  w.step("neg", Op::unary, {rest}, w.output("rests", DType::int64, {4}), {ints(K::activation, {16})});

  // int64
  const uint32_t more = w.constant("more ids", {2}, std::vector<int64_t>{-1, int64_t{1} << 40});
  w.step("int64 concat", Op::concat, {ids, more}, w.output("all ids", DType::int64, {6}), {ints(K::axis, {0})});

  // indices: the input's lie anywhere
  const uint32_t places = w.constant("places", {3}, std::vector<int32_t>{5, -1, 0});
  const uint32_t ga = w.intermediate("ga", f32, {1, 3, 8, 8}), ge = w.intermediate("ge", f32, {1, 4}),
                 gn = w.intermediate("gn", f32, {2, 8});
  w.step("gather", Op::gather, {x, places}, ga, {ints(K::axis, {1})});
  const uint32_t at = w.constant("at", {1, 4}, std::vector<int64_t>{2, -3, 2, 9});
  w.step("gather_elements", Op::gather_elements, {w.constant("few", {1, 7}, r.floats(7)), at}, ge, {ints(K::axis, {1})});
  const uint32_t pixels = w.constant("pixels", {2, 3}, std::vector<int64_t>{0, 3, 7, 0, -1, 2});
  w.step("gather_nd", Op::gather_nd, {x, pixels}, gn, {ints(K::batch_dims, {0})});
  const uint32_t se = w.output("se", f32, {1, 4}), sn = w.output("sn", f32, {1, 3, 8, 8});
  const uint32_t anywhere = w.intermediate("anywhere", DType::int64, {1, 4});
  w.step("ids as a row", Op::reshape, {ids}, anywhere);
  w.step("scatter_elements", Op::scatter_elements, {ge, anywhere, w.constant("added", {1, 4}, r.floats(4))}, se,
         {ints(K::axis, {1}), ints(K::scatter_reduction, {1})});
  const uint32_t rows_at = w.constant("rows at", {2, 3}, std::vector<int32_t>{0, 1, 2, 0, 1, 2});
  w.step("scatter_nd", Op::scatter_nd, {ga, rows_at, gn}, sn, {ints(K::scatter_reduction, {0})});
  const uint32_t best = w.output("best", DType::int64, {1, 1, 8, 8}), top = w.output("top", DType::int64, {1, 8, 8, 3});
  w.step("arg_reduce", Op::arg_reduce, {x}, best, {ints(K::axis, {1}), ints(K::select_last, {1})});
  w.step("top_k", Op::top_k, {x}, top, {ints(K::axis, {3}), ints(K::largest, {0})});
  const uint32_t boxes = w.constant("boxes", {1, 64, 4}, r.floats(256, 4.0f)), kinds = w.intermediate("kinds", f32, {1, 8, 64});
  w.step("scores of boxes", Op::reshape, {x}, kinds);
  w.step("non_max_suppression", Op::non_max_suppression, {boxes, kinds}, w.output("kept", DType::int64, {40, 3}),
         {ints(K::max_per_class, {5}), floats(K::iou_threshold, {0.25}), floats(K::score_threshold, {0.5})});
  const uint32_t regions = w.constant("regions", {3, 4}, std::vector<float>{0, 1, 6, 7, -4, -2, 3, 20, 5, 5, 5.5f, 6});
  w.step("roi_align", Op::roi_align, {x, regions, w.constant("images", {3}, std::vector<int64_t>{0, 0, -1})},
         w.output("aligned", f32, {3, 8, 2, 3}), {floats(K::spatial_scale, {0.5})});
  const uint32_t total = w.output("total of ids", DType::int64, {1});
  w.step("int64 sum", Op::reduce, {ids}, total, {ints(K::axes, {0}), ints(K::reduction, {1})});
  return w;
}

// A session with arrays for its inputs and outputs. The inputs hold numbers that look random.
struct RunnableSession {
  explicit RunnableSession(std::unique_ptr<Session> loaded, uint32_t seed = 1) : session(std::move(loaded)) {
    Numbers numbers(seed);
    for (const TensorSpec& spec : session->inputs()) {
      std::vector<uint8_t>& array = input_arrays.emplace_back(spec.bytes);
      if (spec.dtype == DType::float32) {
        const std::vector<float> values = numbers.floats(spec.bytes / 4, 2.0f);
        if (spec.bytes > 0) std::memcpy(array.data(), values.data(), spec.bytes);
      } else {
        for (uint8_t& byte : array) byte = static_cast<uint8_t>(numbers.below(256));
      }
      inputs.push_back(array.data());
    }
    for (const TensorSpec& spec : session->outputs())
      outputs.push_back(output_arrays.emplace_back(spec.bytes, uint8_t{0xCD}).data());
  }
  StatusCode run() { return session->run(inputs.data(), outputs.data()); }

  std::unique_ptr<Session> session;
  std::vector<std::vector<uint8_t>> input_arrays, output_arrays;
  std::vector<const void*> inputs;
  std::vector<void*> outputs;
};

inline std::unique_ptr<Session> load(const LaneWriter& writer, int threads = 1, const std::string& isa = "") {
  SessionOptions options;
  options.threads = threads;
  options.isa = isa;
  return Session::load(writer.file(), "test.lane", options);
}

}  // namespace edgelane::testing
