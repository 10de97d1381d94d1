#include "kernels/registry.hpp"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "core/status.hpp"

namespace edgelane {
namespace {

TEST(Registry, NamesAreUniqueAndEndWithTheirInstructionSet) {
  std::set<std::string> names;
  for (const KernelEntry& entry : all_kernels()) {
    const std::string name = entry.name, suffix = std::string("_") + isa_name(entry.isa);
    EXPECT_TRUE(names.insert(name).second) << name << " is listed twice";
    ASSERT_GT(name.size(), suffix.size());
    EXPECT_EQ(name.substr(name.size() - suffix.size()), suffix);
  }
}

// The tests of the families run every kernel of the operations they name; this is the list of operations that have such a test.
TEST(Registry, EveryStepKernelBelongsToATestedOperation) {
  const std::set<std::string> tested = {"max_pool_f32",
                                        "max_pool_s8",
                                        "average_pool_f32",
                                        "average_pool_s8",
                                        "global_average_pool_f32",
                                        "global_average_pool_s8",
                                        "unary_f32",
                                        "unary_s8",
                                        "affine_f32",
                                        "prelu_f32",
                                        "binary_f32",
                                        "binary_s8",
                                        "broadcast_s8",
                                        "compare_f32",
                                        "unary_s32",
                                        "unary_s64",
                                        "logical_not",
                                        "test_f32",
                                        "binary_s32",
                                        "binary_s64",
                                        "binary_bool",
                                        "where_x8",
                                        "where_x32",
                                        "where_x64",
                                        "softmax_f32",
                                        "log_softmax_f32",
                                        "reduce_f32",
                                        "reduce_double_f32",
                                        "reduce_s32",
                                        "reduce_s64",
                                        "arg_reduce_f32",
                                        "arg_reduce_s32",
                                        "arg_reduce_s64",
                                        "top_k_f32",
                                        "top_k_s32",
                                        "top_k_s64",
                                        "matmul_f32",
                                        "matmul_s32",
                                        "normalize_f32",
                                        "quantize_f32",
                                        "dequantize_s8",
                                        "requantize_s8",
                                        "cast",
                                        "cast_bytes",
                                        "recode",
                                        "concat_any",
                                        "slice_any",
                                        "transpose_any",
                                        "reshape_any",
                                        "channel_shuffle_any",
                                        "pad_any",
                                        "gather_any",
                                        "gather_elements_any",
                                        "gather_nd_any",
                                        "scatter_elements_any",
                                        "scatter_nd_any",
                                        "non_max_suppression_f32",
                                        "roi_align_f32",
                                        "resize_f32",
                                        "resize_s8",
                                        "conv_transpose2d_f32",
                                        "depthwise_f32",
                                        "depthwise_s8",
                                        "winograd_f32"};
  for (const KernelEntry& entry : all_kernels()) {
    const std::string family = entry.family;
    if (family.rfind("conv2d_", 0) == 0 || family.rfind("linear_", 0) == 0) continue;  // their tests go through their own lists
    const std::string name = entry.name, suffix = std::string("_") + isa_name(entry.isa);
    const std::string with_tile = name.substr(0, name.size() - suffix.size());
    EXPECT_TRUE(tested.count(with_tile.substr(0, with_tile.rfind('_')))) << name;
  }
}

TEST(Registry, TheHighestLevelThatRunsIsChosen) {
  EXPECT_STREQ(select_kernel("pool", "max_pool_f32", {Isa::scalar, ""}).name, "max_pool_f32_4_scalar");
  EXPECT_STREQ(select_kernel("pool", "max_pool_f32", {Isa::avx2, ""}).name, "max_pool_f32_8_avx2");
  EXPECT_STREQ(select_kernel("pool", "max_pool_f32", {Isa::avx_vnni, ""}).name, "max_pool_f32_8_avx2");
  EXPECT_STREQ(select_kernel("pool", "max_pool_f32", {Isa::avx512_vnni, ""}).name, "max_pool_f32_16_avx512");
  EXPECT_STREQ(select_kernel("pool", "max_pool_f32", {Isa::avx512, "max_pool_f32_8_avx2"}).name, "max_pool_f32_8_avx2");
}

TEST(Registry, AllKernelsOfTheHighestLevelAreCandidates) {
  const auto names = [](const KernelOptions& options) {
    std::vector<std::string> found;
    for (const KernelEntry* entry : kernel_candidates("conv2d_f32", "conv2d_f32", options)) found.push_back(entry->name);
    return found;
  };
  using Names = std::vector<std::string>;
  EXPECT_EQ(names({Isa::avx2, ""}), (Names{"conv2d_f32_1x1_avx2", "conv2d_f32_staged1x1_avx2", "conv2d_f32_4x1_avx2"}));
  EXPECT_EQ(names({Isa::avx512_vnni, ""}), names({Isa::avx512, ""}));  // VNNI adds nothing to float32
  EXPECT_EQ(names({Isa::avx_vnni, ""}), names({Isa::avx2, ""}));
  EXPECT_EQ(names({Isa::avx512, "conv2d_f32_4x1_scalar"}), (Names{"conv2d_f32_4x1_scalar"}));
}

TEST(Registry, AvxVnniStandsBesideAvx512) {
  const auto linear = [](Isa isa, const char* kernel) {
    return std::string(select_kernel("linear_s8", "linear_s8", {isa, kernel}).name);
  };
  EXPECT_EQ(linear(Isa::avx_vnni, ""), "linear_s8_4x24_avx_vnni");
  EXPECT_EQ(linear(Isa::avx512, ""), "linear_s8_4x64_avx512");
  EXPECT_EQ(linear(Isa::avx512_vnni, ""), "linear_s8_6x64_avx512_vnni");
  EXPECT_EQ(linear(Isa::avx_vnni, "linear_s8_4x16_avx2"), "linear_s8_4x16_avx2");
  EXPECT_THROW(linear(Isa::avx2, "linear_s8_4x24_avx_vnni"), Error);
  EXPECT_THROW(linear(Isa::avx512_vnni, "linear_s8_4x24_avx_vnni"), Error) << "the first CPUs with AVX-512 VNNI lack AVX-VNNI";
}

TEST(Registry, ArmHasLevelsOfItsOwn) {
  EXPECT_STREQ(select_kernel("pool", "max_pool_f32", {Isa::neon_i8mm, ""}).name, "max_pool_f32_4_neon");
  EXPECT_STREQ(select_kernel("linear_f32", "linear_f32", {Isa::neon_dotprod, ""}).name, "linear_f32_5x16_neon");
  EXPECT_STREQ(select_kernel("linear_s8", "linear_s8", {Isa::neon, ""}).name, "linear_s8_3x8_neon");
  EXPECT_STREQ(select_kernel("linear_s8", "linear_s8", {Isa::neon_dotprod, ""}).name, "linear_s8_5x16_neon_dotprod");
  EXPECT_STREQ(select_kernel("linear_s8", "linear_s8", {Isa::neon_i8mm, ""}).name, "linear_s8_6x12_neon_i8mm");
  EXPECT_THROW(select_kernel("pool", "max_pool_f32", {Isa::neon_i8mm, "max_pool_f32_8_avx2"}), Error);
}

TEST(Registry, UnknownAndUnavailableNamesAreErrors) {
  const auto code = [](const KernelOptions& options) {
    try {
      select_kernel("pool", "max_pool_f32", options);
    } catch (const Error& error) {
      return error.code();
    }
    return StatusCode::ok;
  };
  EXPECT_EQ(code({Isa::avx512, "max_pool_f32_3_scalar"}), StatusCode::invalid_argument);
  EXPECT_EQ(code({Isa::avx512, "max_pool_s8_4_scalar"}), StatusCode::invalid_argument);  // another operation's
  EXPECT_EQ(code({Isa::avx2, "max_pool_f32_16_avx512"}), StatusCode::unsupported);
}

}  // namespace
}  // namespace edgelane
