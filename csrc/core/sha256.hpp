// SHA-256 (FIPS 180-4): the checksum of a .lane file.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace edgelane {

using Sha256Digest = std::array<uint8_t, 32>;

Sha256Digest sha256(const uint8_t* data, size_t size) noexcept;

}  // namespace edgelane
