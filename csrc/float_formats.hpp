// Non-negative finite floats rounded to the nearest even float16 or bfloat16, bit patterns as the type's own.
#pragma once

#include <bit>
#include <cstdint>

namespace fastpose {

struct Float16 {
  std::uint16_t bits;
};
struct BFloat16 {
  std::uint16_t bits;
};

template <class Element>
Element from_float(float value);

template <>
inline float from_float<float>(float value) {
  return value;
}

template <>
inline BFloat16 from_float<BFloat16>(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  return {static_cast<std::uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16)};
}

template <>
inline Float16 from_float<Float16>(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if (bits >= 0x477FF000u) return {0x7C00u};  // 65520 and above round to infinity
  if (bits < 0x38800000u) {
    // Below 2^-14: in [0.5, 1) a float's last place is 2^-24, the step of a float16 subnormal.
    return {static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(value + 0.5f) - 0x3F000000u)};
  }
  const std::uint32_t rebased = bits - 0x38000000u;  // exponent bias 127 to 15
  return {static_cast<std::uint16_t>((rebased + 0x0FFFu + ((rebased >> 13) & 1u)) >> 13)};
}

}  // namespace fastpose
