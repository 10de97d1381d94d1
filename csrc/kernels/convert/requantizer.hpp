// int8 of one scale and zero point to another, for steps that move data and requantise it on the way.
#pragma once

#include <array>
#include <cstdint>

#include "formats/quantization.hpp"
#include "kernels/convert/rows.hpp"
#include "kernels/kernel.hpp"

namespace edgelane {

// quantize(dequantize(x)) of formats/quantization.hpp, on stored bytes.
class Requantizer {
 public:
  Requantizer(QuantParams from, QuantParams to, Isa isa);

  bool identity() const noexcept { return identity_; }
  uint8_t operator()(uint8_t stored) const noexcept { return table_[stored]; }
  // n bytes; x and y may be the same.
  void run(const uint8_t* x, uint8_t* y, int64_t n) const noexcept;

 private:
  std::array<uint8_t, 256> table_;
  bool identity_, by_factor_ = false;
  ByteRescale factor_{};
  const ConvertRows* rows_;
};

}  // namespace edgelane
