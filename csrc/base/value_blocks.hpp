// Eight values at a time: the exponential, rounding to 16-bit formats, maximum. Vectors of the compiler,
// which become SSE2 or AVX2 by the caller's target; passed by reference, as their calling convention depends
// on it.
#pragma once

#include <cstdint>
#include <cstring>

namespace fastpose {

inline constexpr int kBlock = 8;

using Floats [[gnu::vector_size(32)]] = float;
using Ints [[gnu::vector_size(32)]] = std::int32_t;
using Shorts [[gnu::vector_size(16)]] = std::int16_t;

// Bit patterns of non-negative values, which are ordered as the values are.
struct Float16 {
  std::int16_t bits;
  bool operator<(const Float16& other) const { return bits < other.bits; }
};
struct BFloat16 {
  std::int16_t bits;
  bool operator<(const BFloat16& other) const { return bits < other.bits; }
};

template <class Element>
struct BlockOf {
  using Type = Shorts;
};
template <>
struct BlockOf<float> {
  using Type = Floats;
};
template <class Element>
using Block = typename BlockOf<Element>::Type;

template <class Vector, class Element>
void load(const Element* values, Vector& block) {
  static_assert(sizeof(Vector) == kBlock * sizeof(Element));
  std::memcpy(&block, values, sizeof(block));
}

template <class Vector, class Element>
void store(const Vector& block, Element* values) {
  static_assert(sizeof(Vector) == kBlock * sizeof(Element));
  std::memcpy(values, &block, sizeof(block));
}

// x, x + 1, …, x + 7
inline void ramp(float x, Floats& block) {
  block = x + Floats{0, 1, 2, 3, 4, 5, 6, 7};
}

template <class Vector>
void raise_to(const Vector& floor, Vector& block) {
  block = block < floor ? floor : block;
}

// x becomes exp(x) for x <= 0 within 2 units in the last place, and 0 below -87.
inline void exponentiate_negative(Floats& x) {
  constexpr float kLog2E = 1.44269504f, kLn2High = 0.693145752f, kLn2Low = 1.42860677e-6f;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, held in the low bits
  const Ints representable = x >= -87.0f;
  const Floats clamped = representable ? x : Floats{} - 87.0f;
  const Floats shifted = clamped * kLog2E + kRound;
  const Floats power = shifted - kRound;
  const Floats r = clamped - power * kLn2High - power * kLn2Low;
  Floats p = r * 1.3981999e-3f + 8.3334519e-3f;
  p = p * r + 4.1665796e-2f;
  p = p * r + 1.6666666e-1f;
  p = p * r + 0.5f;
  p = p * r * r + r + 1.0f;
  const Ints scaled = reinterpret_cast<Ints>(p) + (reinterpret_cast<Ints>(shifted) << 23);
  x = reinterpret_cast<Floats>(scaled & representable);
}

// Rounds non-negative values to the nearest even value of the element's format.
template <class Element>
void encode(const Floats& values, Block<Element>& block);

template <>
inline void encode<float>(const Floats& values, Floats& block) {
  block = values;
}

template <>
inline void encode<BFloat16>(const Floats& values, Shorts& block) {
  const Ints bits = reinterpret_cast<Ints>(values);
  block = __builtin_convertvector((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16, Shorts);
}

template <>
inline void encode<Float16>(const Floats& values, Shorts& block) {
  // In [0.5, 1) a float's last place is 2^-24, the step of a float16 subnormal.
  const Ints subnormal = reinterpret_cast<Ints>(values + 0.5f) - 0x3F000000;
  const Floats limited = values < 65536.0f ? values : Floats{} + 65536.0f;
  const Ints rebased = reinterpret_cast<Ints>(limited) - 0x38000000;     // exponent bias 127 to 15
  const Ints normal = (rebased + 0x0FFF + ((rebased >> 13) & 1)) >> 13;  // 65520 and above: infinity
  block = __builtin_convertvector(rebased < 0x00800000 ? subnormal : normal, Shorts);
}

}  // namespace fastpose
