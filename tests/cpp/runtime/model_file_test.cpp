// Every rule that the reader checks, broken one at a time with a correct checksum: the message must name what is wrong.
#include "runtime/model_file.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <fstream>
#include <functional>
#include <limits>
#include <random>

#include "core/status.hpp"
#include "runtime/every_op.hpp"

namespace edgelane {
namespace {

using namespace testing;

AlignedBuffer<uint8_t> resized(const AlignedBuffer<uint8_t>& file, size_t bytes) {
  AlignedBuffer<uint8_t> out(bytes);
  if (bytes != 0) std::memcpy(out.data(), file.data(), std::min(bytes, file.size()));
  return out;
}

// The error of reading `file`; fails the test where it is read.
std::string error_of(AlignedBuffer<uint8_t> file) {
  try {
    parse_model(std::move(file), "bad.lane");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), StatusCode::invalid_file) << error.what();
    const std::string text = error.what();
    EXPECT_EQ(text.find("bad.lane: "), 0u) << text;
    EXPECT_EQ(text.find('\n'), std::string::npos) << text;
    return text;
  }
  ADD_FAILURE() << "the file was accepted";
  return "";
}

void expect_contains(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << "expected \"" << part << "\" in: " << text;
}

TEST(ModelFile, ReadsEveryOp) {
  const Model model = parse_model(every_op_writer().file(), "good.lane");
  EXPECT_EQ(model.inputs.size(), 2u);
  EXPECT_GE(model.outputs.size(), 5u);
  std::vector<bool> seen(kOps + 1);
  for (const Step& step : model.steps) seen[static_cast<size_t>(step.op)] = true;
  for (int op = 1; op <= kOps; ++op) EXPECT_TRUE(seen[static_cast<size_t>(op)]) << op_name(static_cast<Op>(op));
  EXPECT_EQ(model.metadata, "{}");
  EXPECT_EQ(model.tensors[static_cast<size_t>(model.inputs[0])].name, "x");
}

TEST(ModelFile, TooShortFilesOfEveryLength) {
  const AlignedBuffer<uint8_t> file = every_op_writer().file();
  for (size_t bytes = 0; bytes < 300; ++bytes) error_of(resized(file, bytes));
  for (size_t bytes = 300; bytes < file.size(); bytes += 97) expect_contains(error_of(resized(file, bytes)), "cut off");
  expect_contains(error_of(resized(file, 0)), "not a .lane file");
  expect_contains(error_of(resized(file, 100)), "found 100 bytes");
  expect_contains(error_of(resized(file, file.size() + 1)), "too long");
}

// Bytes of the header, changed at an offset; resealed unless the checksum itself is the subject.
struct HeaderCase {
  const char* name;
  size_t offset;
  std::vector<uint8_t> bytes;
  bool sealed;
  const char* expected;
};

TEST(ModelFile, Header) {
  const std::vector<HeaderCase> cases = {
      {"magic", 0, {0x88}, true, "not a .lane file"},
      {"newline was converted", 5, {0x0A, 0x1A}, true, "not a .lane file"},
      {"newer version", 8, {3}, true, "version 3 is newer than 2"},
      {"version 0", 8, {0}, true, "expected file version 1 or 2, found 0"},
      {"header size", 12, {193}, true, "expected a header of 192 bytes, found 193"},
      {"file size", 16, {1, 0, 0, 0}, true, "the file is too long: expected 1 bytes"},
      {"file size of 2^63", 23, {0x80}, true, "cut off"},
      {"checksum", 24, {0, 0, 0, 0}, false, "checksum"},
      {"strings offset is not aligned", 56, {0xC1}, true, "strings section at a multiple of 64"},
      {"strings over the header", 56, {0x80}, true, "expected the strings section at 192 or later"},
      {"strings end past the file",
       64,
       {0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF},
       true,
       "expected the strings section inside"},
      {"tensors before strings", 72, {0xC0, 0}, true, "expected the tensors section at"},
      {"tensors size is not whole records", 80, {1, 0}, true, "records of 96 bytes"},
      {"golden past the file", 168, {0, 0, 0, 0x7F}, true, "expected the golden section inside"},
      {"data past the file", 184, {0xC0, 0xFF, 0xFF, 0x7F}, true, "data section"},
      {"data over the sections", 184, {0xC0, 0, 0, 0}, true, "data section"},
  };
  for (const HeaderCase& c : cases) {
    SCOPED_TRACE(c.name);
    AlignedBuffer<uint8_t> file = every_op_writer().file();
    std::memcpy(file.data() + c.offset, c.bytes.data(), c.bytes.size());
    if (c.sealed) reseal(file);
    expect_contains(error_of(std::move(file)), c.expected);
  }
}

uint32_t find(const LaneWriter& w, const std::string& name) {
  for (size_t i = 0; i < w.tensors.size(); ++i) {
    if (w.strings.substr(w.tensors[i].name_offset, w.tensors[i].name_length) == name) return static_cast<uint32_t>(i);
  }
  ADD_FAILURE() << "no tensor " << name;
  return 0;
}

TensorRecord& tensor(LaneWriter& w, const std::string& name) { return w.tensors[find(w, name)]; }

StepRecord& step(LaneWriter& w, const std::string& name) {
  for (StepRecord& s : w.steps) {
    if (w.strings.substr(s.name_offset, s.name_length) == name) return s;
  }
  ADD_FAILURE() << "no step " << name;
  return w.steps[0];
}

AttributeRecord& attribute(LaneWriter& w, const std::string& step_name, AttributeKey key) {
  const StepRecord& s = step(w, step_name);
  for (uint32_t i = 0; i < s.attribute_count; ++i) {
    if (w.attributes[s.first_attribute + i].key == static_cast<uint16_t>(key)) return w.attributes[s.first_attribute + i];
  }
  ADD_FAILURE() << "no such attribute of " << step_name;
  return w.attributes[0];
}

void set_int(LaneWriter& w, const std::string& step_name, AttributeKey key, size_t index, int64_t value) {
  std::memcpy(&w.cells[attribute(w, step_name, key).first + index], &value, 8);
}

void set_float(LaneWriter& w, const std::string& step_name, AttributeKey key, size_t index, double value) {
  std::memcpy(&w.cells[attribute(w, step_name, key).first + index], &value, 8);
}

void set_scale(LaneWriter& w, const std::string& name, double value) {
  std::memcpy(&w.cells[tensor(w, name).first_scale], &value, 8);
}

struct RecordCase {
  const char* name;
  std::function<void(LaneWriter&)> bend;
  const char* expected;
};

void expect_errors(const std::vector<RecordCase>& cases) {
  for (const RecordCase& c : cases) {
    SCOPED_TRACE(c.name);
    LaneWriter writer = every_op_writer();
    c.bend(writer);
    expect_contains(error_of(writer.file()), c.expected);
  }
}

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

TEST(ModelFile, TensorRecords) {
  expect_errors({
      {"dtype", [](LaneWriter& w) { tensor(w, "a").dtype = 6; }, "expected dtype 0 to 5, found 6"},
      {"kind", [](LaneWriter& w) { tensor(w, "a").kind = 4; }, "expected kind 0 to 3, found 4"},
      {"rank", [](LaneWriter& w) { tensor(w, "a").rank = 7; }, "expected rank 0 to 6, found 7"},
      {"encoding", [](LaneWriter& w) { tensor(w, "b1").encoding = 2; }, "expected encoding 0 or 1, found 2"},
      {"dim 0", [](LaneWriter& w) { tensor(w, "a").dims[1] = 0; }, "expected dims of 1 to"},
      {"dim too large", [](LaneWriter& w) { tensor(w, "a").dims[1] = 0x80000000; }, "expected dims of 1 to"},
      {"dim past the rank", [](LaneWriter& w) { tensor(w, "a").dims[5] = 1; }, "expected dims past the rank 4 to be 0"},
      {"too many elements",
       [](LaneWriter& w) {
         for (int i = 0; i < 4; ++i) tensor(w, "a").dims[i] = 0x7FFFFFFF;
       },
       "expected at most 2147483647 elements"},
      {"side too long", [](LaneWriter& w) { tensor(w, "a").dims[3] = (1 << 20) + 1; }, "height and width of at most"},
      {"name out of the section", [](LaneWriter& w) { tensor(w, "a").name_offset = 0xFFFFFFF0; }, "name: expected"},
      {"name length out of the section", [](LaneWriter& w) { tensor(w, "a").name_length = 0xFFFFFFFF; }, "name: expected"},
      {"name too long",
       [](LaneWriter& w) {
         w.strings += std::string(2000, 'n');
         tensor(w, "a").name_length = 1025;
       },
       "expected a name of at most 1024 bytes"},
      {"name is not UTF-8", [](LaneWriter& w) { w.strings[tensor(w, "a").name_offset] = '\xFF'; },
       "expected the name to be UTF-8"},
      {"name with NUL", [](LaneWriter& w) { w.strings[tensor(w, "a").name_offset] = '\0'; }, "expected the name to be UTF-8"},
      {"no name", [](LaneWriter& w) { tensor(w, "a").name_length = 0; }, "expected a name, found an empty one"},
      {"name twice", [](LaneWriter& w) { tensor(w, "a").name_offset = tensor(w, "b").name_offset; },
       "expected unique names, found \"b\" twice"},
      {"reserved byte", [](LaneWriter& w) { tensor(w, "a").reserved[23] = 1; }, "expected reserved bytes to be 0"},
      {"no outputs",
       [](LaneWriter& w) {
         for (TensorRecord& t : w.tensors) t.kind = t.kind == 3 ? 0 : t.kind;
       },
       "expected at least one output"},
      {"int8 activation without a scale", [](LaneWriter& w) { tensor(w, "q").scale_count = 0; },
       "expected one scale of an int8 activation"},
      {"two scales of an activation", [](LaneWriter& w) { tensor(w, "q").scale_count = 2; },
       "expected 0 scales, 1, or one for each"},
      {"wrong number of scales", [](LaneWriter& w) { tensor(w, "w3").scale_count = 6; }, "expected 0 scales, 1, or one for each"},
      {"scales past the cells", [](LaneWriter& w) { tensor(w, "q").first_scale = 0xFFFFFFFF; }, "scales among"},
      {"scale 0", [](LaneWriter& w) { set_scale(w, "q", 0.0); }, "expected float32 scales above 0, found 0"},
      {"negative scale", [](LaneWriter& w) { set_scale(w, "q", -0.5); }, "expected float32 scales above 0, found -0.5"},
      {"scale is no float32", [](LaneWriter& w) { set_scale(w, "q", 0.1); }, "expected float32 scales above 0"},
      {"scale overflows float32", [](LaneWriter& w) { set_scale(w, "q", 1e300); }, "expected float32 scales above 0"},
      {"infinite scale", [](LaneWriter& w) { set_scale(w, "q", kInfinity); }, "expected float32 scales above 0"},
      {"NaN scale", [](LaneWriter& w) { set_scale(w, "w3", kNaN); }, "expected float32 scales above 0"},
      {"zero point", [](LaneWriter& w) { tensor(w, "q").zero_point = 128; }, "expected a zero point of -128 to 127, found 128"},
      {"zero point of a constant", [](LaneWriter& w) { tensor(w, "w4").zero_point = 1; }, "expected zero point 0 of a constant"},
  });
}

TEST(ModelFile, Constants) {
  expect_errors({
      {"data not aligned", [](LaneWriter& w) { tensor(w, "b1").data_offset += 4; }, "expected its data at a multiple of 64"},
      {"data past the end", [](LaneWriter& w) { tensor(w, "b1").data_offset = uint64_t{1} << 40; },
       "of the data section, which has"},
      {"data of 2^64 - 1 bytes", [](LaneWriter& w) { tensor(w, "b1").data_bytes = ~uint64_t{0}; },
       "of the data section, which has"},
      {"too few bytes", [](LaneWriter& w) { tensor(w, "b1").data_bytes = 28; }, "expected 32 bytes for float32[8], found 28"},
      {"data of an activation", [](LaneWriter& w) { tensor(w, "a").data_bytes = 4; },
       "expected no data of a tensor that is not a constant"},
      {"two constants on the same bytes", [](LaneWriter& w) { tensor(w, "shift").data_offset = tensor(w, "scale").data_offset; },
       "overlaps"},
      {"blocks of a dense tensor", [](LaneWriter& w) { tensor(w, "w2").block_ic = 4; }, "expected no blocks of a dense tensor"},
      {"block of 0", [](LaneWriter& w) { tensor(w, "w1").block_oc = 0; }, "expected blocks of 1 to 64 channels"},
      {"block of 65", [](LaneWriter& w) { tensor(w, "w1").block_ic = 65; }, "expected blocks of 1 to 64 channels"},
      {"nonzero count", [](LaneWriter& w) { tensor(w, "w1").nonzero_blocks += 1; }, "bytes for"},
      {"fewer ones than blocks", [](LaneWriter& w) { w.data[tensor(w, "w1").data_offset] ^= 1; }, "ones in the block bitmask"},
      {"a bit behind the last block",
       [](LaneWriter& w) {
         // One bit moves from its block to the padding, so that the number of ones stays right.
         uint8_t* mask = w.data.data() + tensor(w, "w1").data_offset;
         size_t bit = 0;
         while ((mask[bit / 8] >> bit % 8 & 1) == 0) ++bit;
         mask[bit / 8] = static_cast<uint8_t>(mask[bit / 8] & ~(1u << bit % 8));
         mask[7] |= 0x80;
       },
       "expected zeros behind the 36 bits"},
      {"values past the edge",
       [](LaneWriter& w) {
         const TensorRecord old = tensor(w, "w3");
         LaneWriter fresh;
         const uint32_t sparse = fresh.sparse_constant("w3", {7, 12, 3, 3}, std::vector<int8_t>(7 * 12 * 9, 1), 4, 4, {0.5f});
         TensorRecord t = fresh.tensors[sparse];
         // The second row of blocks holds output channels 4 to 7, and there is no channel 7.
         fresh.data[t.data_offset + t.data_bytes - 1] = 1;
         t.data_offset = align_up(w.data.size());
         w.data.resize(t.data_offset);
         w.data.insert(w.data.end(), fresh.data.begin(), fresh.data.end());
         t.name_offset = old.name_offset;
         t.first_scale = old.first_scale;
         t.scale_count = 1;
         tensor(w, "w3") = t;
       },
       "expected zeros past the edge"},
      {"sparse bias",
       [](LaneWriter& w) {
         TensorRecord& t = tensor(w, "b1");
         t.encoding = 1;
         t.block_oc = t.block_ic = 1;
       },
       "expected block-sparse weights of rank 2 or 4"},
      {"a constant that is too large when written out",
       [](LaneWriter& w) {
         TensorRecord& t = tensor(w, "w1");
         t.dims[0] = 1 << 14;
         t.dims[1] = 1 << 12;
       },
       "expected a constant of at most "},
  });
}

TEST(ModelFile, Steps) {
  using K = AttributeKey;
  expect_errors({
      {"op 0", [](LaneWriter& w) { step(w, "conv").op = 0; }, "expected op 1 to 37, found 0"},
      {"op 38", [](LaneWriter& w) { step(w, "conv").op = 38; }, "expected op 1 to 37, found 38"},
      {"too few inputs", [](LaneWriter& w) { step(w, "conv").input_count = 1; }, "expected 2 to 5 inputs, found 1"},
      {"too many inputs", [](LaneWriter& w) { step(w, "softmax").input_count = 2; }, "expected 1 to 1 inputs, found 2"},
      {"two outputs", [](LaneWriter& w) { step(w, "conv").output_count = 2; }, "expected 1 output, found 2"},
      {"io past the end", [](LaneWriter& w) { step(w, "conv").first_io = 0xFFFFFFFF; }, "tensor indices among"},
      {"unknown tensor", [](LaneWriter& w) { w.io[step(w, "conv").first_io] = 1000; }, "expected a tensor index below"},
      {"absent required input", [](LaneWriter& w) { w.io[step(w, "conv").first_io + 1] = kAbsentInput; },
       "expected a tensor index below"},
      {"absent part of a concat", [](LaneWriter& w) { w.io[step(w, "concat").first_io + 1] = kAbsentInput; },
       "expected a tensor index below"},
      {"absent output", [](LaneWriter& w) { w.io[step(w, "softmax").first_io + 1] = kAbsentInput; },
       "expected a tensor index below"},
      {"reserved byte", [](LaneWriter& w) { step(w, "conv").reserved[0] = 1; }, "expected reserved bytes to be 0"},
      {"more steps than tensors", [](LaneWriter& w) { w.steps.resize(w.tensors.size() + 1, w.steps[0]); },
       "expected at most one step for each"},
      {"reads what comes later", [](LaneWriter& w) { std::swap(w.steps[0], w.steps[1]); },
       "reads \"a\" before a step has written it"},
      {"writes an input", [](LaneWriter& w) { w.io[step(w, "conv").first_io + 3] = find(w, "x"); },
       "expected to write an intermediate"},
      {"writes a constant", [](LaneWriter& w) { w.io[step(w, "conv").first_io + 3] = find(w, "b1"); },
       "expected to write an intermediate"},
      {"writes twice", [](LaneWriter& w) { w.io[step(w, "depthwise with residual").first_io + 4] = find(w, "a"); },
       "which an earlier step has written"},
      {"an output that nothing writes", [](LaneWriter& w) { w.steps.pop_back(); }, "is written by no step"},
      {"attributes past the end", [](LaneWriter& w) { step(w, "conv").first_attribute = 0xFFFFFFFF; }, "attributes among"},
      {"unknown key", [](LaneWriter& w) { attribute(w, "conv", K::pads).key = 36; }, "expected attribute keys 1 to 35, found 36"},
      {"key 0", [](LaneWriter& w) { attribute(w, "conv", K::pads).key = 0; }, "expected attribute keys 1 to 35, found 0"},
      {"key of another op", [](LaneWriter& w) { attribute(w, "conv", K::pads).key = static_cast<uint16_t>(K::axis); },
       "axis does not belong"},
      {"key twice", [](LaneWriter& w) { attribute(w, "conv", K::activation).key = static_cast<uint16_t>(K::pads); },
       "pads stands twice"},
      {"missing attribute", [](LaneWriter& w) { step(w, "softmax").attribute_count = 0; },
       "expected attribute axis, which is missing"},
      {"attribute type", [](LaneWriter& w) { attribute(w, "conv", K::pads).type = 1; }, "expected type 0 (int), found 1"},
      {"float attribute type", [](LaneWriter& w) { attribute(w, "resize", K::scales).type = 0; },
       "expected type 1 (float), found 0"},
      {"count of values", [](LaneWriter& w) { attribute(w, "conv", K::pads).count = 3; }, "expected 4 to 4 values, found 3"},
      {"values past the cells", [](LaneWriter& w) { attribute(w, "conv", K::pads).first = 0xFFFFFFFF; }, "values among"},
      {"reserved field", [](LaneWriter& w) { attribute(w, "conv", K::pads).reserved = 1; }, "expected reserved bytes to be 0"},
      {"negative padding", [](LaneWriter& w) { set_int(w, "conv", K::pads, 0, -1); }, "expected 0 to 65535, found -1"},
      {"huge padding", [](LaneWriter& w) { set_int(w, "conv", K::pads, 0, int64_t{1} << 32); },
       "expected 0 to 65535, found 4294967296"},
      {"stride 0", [](LaneWriter& w) { set_int(w, "max_pool", K::strides, 0, 0); }, "expected 1 to 65535, found 0"},
      {"groups 0", [](LaneWriter& w) { set_int(w, "shuffle", K::groups, 0, 0); }, "expected 1 to 2147483647, found 0"},
      {"unknown activation", [](LaneWriter& w) { set_int(w, "conv", K::activation, 0, 41); }, "expected 0 to 40, found 41"},
      {"activation of the op unary", [](LaneWriter& w) { set_int(w, "conv", K::activation, 0, 39); },
       "activation is_nan belongs to the op unary"},
      {"NaN parameter", [](LaneWriter& w) { set_float(w, "int8 conv", K::activation_params, 0, kNaN); },
       "expected a finite float32"},
      {"infinite parameter", [](LaneWriter& w) { set_float(w, "int8 conv", K::activation_params, 1, kInfinity); },
       "expected a finite float32"},
      {"parameter past float32", [](LaneWriter& w) { set_float(w, "int8 conv", K::activation_params, 1, 1e39); },
       "expected a finite float32"},
      {"intermediate scale 0", [](LaneWriter& w) { set_float(w, "int8 conv with residual", K::intermediate_scale, 0, 0); },
       "expected a scale above 0"},
      {"step name is not UTF-8", [](LaneWriter& w) { w.strings[step(w, "conv").name_offset] = '\xC0'; },
       "expected the name to be UTF-8"},
      {"metadata with NUL", [](LaneWriter& w) { w.metadata = std::string("{}\0{}", 5); }, "expected the metadata to be UTF-8"},
      {"metadata is not UTF-8", [](LaneWriter& w) { w.metadata = "\xED\xA0\x80"; }, "expected the metadata to be UTF-8"},
  });
}

LaneWriter with_golden() {
  LaneWriter w;
  const uint32_t x = w.input("x", DType::float32, {2}), y = w.output("y", DType::float32, {2});
  w.step("abs", Op::unary, {x}, y, {ints(AttributeKey::activation, {15})});
  w.golden_value<float>(x, {-1.0f, 2.0f});
  w.golden_value<float>(y, {1.0f, 2.0f});
  return w;
}

TEST(ModelFile, GoldenFrame) {
  EXPECT_EQ(parse_model(with_golden().file(), "good.lane").golden.size(), 2u);
  const std::vector<RecordCase> cases = {
      {"one record is missing", [](LaneWriter& w) { w.golden.pop_back(); }, "expected a golden frame of 2 records"},
      {"unknown tensor", [](LaneWriter& w) { w.golden[0].tensor = 9; }, "expected a tensor index below 2"},
      {"tensor twice", [](LaneWriter& w) { w.golden[0].tensor = 1; }, "stands twice"},
      {"bytes", [](LaneWriter& w) { w.golden[0].data_bytes = 4; }, "expected 8 bytes for \"x\", found 4"},
      {"offset", [](LaneWriter& w) { w.golden[0].data_offset = 1 << 20; }, "of the data section, which has"},
      {"alignment", [](LaneWriter& w) { w.golden[0].data_offset = 8; }, "at a multiple of 64"},
      {"overlap", [](LaneWriter& w) { w.golden[1].data_offset = 0; }, "overlaps"},
      {"rule", [](LaneWriter& w) { w.golden[1].rule = 3; }, "golden record 1: expected a rule from 0 to 2, found 3"},
      {"rule of an input", [](LaneWriter& w) { w.golden[0].rule = 1; }, "golden record 0: expected a rule from 0 to 0, found 1"},
  };
  for (const RecordCase& c : cases) {
    SCOPED_TRACE(c.name);
    LaneWriter writer = with_golden();
    c.bend(writer);
    expect_contains(error_of(writer.file()), c.expected);
  }
}

TEST(ModelFile, FilesThatCannotBeRead) {
  const auto expect_not_found = [](const std::string& path, const char* expected) {
    try {
      load_model(path);
      ADD_FAILURE() << path << " was read";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), StatusCode::not_found);
      expect_contains(error.what(), path + ": ");
      expect_contains(error.what(), expected);
    }
  };
  expect_not_found("/nonexistent/model.lane", "there is no such file");
  expect_not_found(::testing::TempDir(), "directory");
  expect_not_found("/dev/zero", "device");
}

TEST(ModelFile, ReadsFromDisk) {
  const std::string path = ::testing::TempDir() + "/edgelane_model_file_test.lane";
  const AlignedBuffer<uint8_t> file = every_op_writer().file();
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(file.data()), static_cast<std::streamsize>(file.size()));
  EXPECT_EQ(load_model(path).steps.size(), every_op_writer().steps.size());
  std::remove(path.c_str());
}

// A few thousand files with random damage, half of them with the right checksum: an error, or a network that runs.
TEST(ModelFile, RandomCorruption) {
  const AlignedBuffer<uint8_t> good = every_op_writer().file();
  std::mt19937 random(2026);
  int refused = 0, ran = 0;
  for (int i = 0; i < 4000; ++i) {
    AlignedBuffer<uint8_t> file = resized(good, good.size());
    const bool sealed = i % 2 == 1;
    const int changes = 1 + static_cast<int>(random() % 4);
    for (int c = 0; c < changes; ++c) {
      // Half of the damage goes into the records, which are a small part of the file.
      const size_t at = random() % 2 == 0 ? random() % good.size() : 192 + random() % (good.size() / 2 - 192);
      switch (random() % 4) {
        case 0:
          file[at] = static_cast<uint8_t>(file[at] ^ 1u << random() % 8);
          break;
        case 1:
          file[at] = static_cast<uint8_t>(random());
          break;
        case 2:
          file[at] = 0xFF;
          break;
        default:
          for (size_t k = at; k < std::min(at + 4, good.size()); ++k) file[k] = static_cast<uint8_t>(random());
      }
    }
    if (sealed) reseal(file);
    try {
      RunnableSession runnable(Session::load(std::move(file), "damaged.lane", {}));
      EXPECT_EQ(runnable.run(), StatusCode::ok);
      ++ran;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("damaged.lane: "), std::string::npos) << error.what();
      ++refused;
    }
  }
  // Weights, scales and activation numbers may change to others that make sense; everything else must have been noticed.
  // How many do depends on how much of the file is records, more with every op of the network: of 4000, 94 when it had 45 steps.
  EXPECT_GT(refused, 2000);
  EXPECT_GT(ran, 50);
}

}  // namespace
}  // namespace edgelane
