// Eight floats at a time. Vectors of the compiler, which become SSE2, AVX2 or NEON by the caller's target;
// passed by reference, as their calling convention depends on it.
#pragma once

#include <cstdint>
#include <cstring>

namespace fastpose {

inline constexpr std::int64_t kLanes = 8;

using Floats [[gnu::vector_size(32)]] = float;
using Ints [[gnu::vector_size(32)]] = std::int32_t;
using Words [[gnu::vector_size(32)]] = std::uint32_t;
using Shorts [[gnu::vector_size(16)]] = std::int16_t;
using HalfWords [[gnu::vector_size(16)]] = std::uint16_t;

// As they lie in memory, at any address; number_formats.hpp reads and writes other formats.
template <class Vector, class Element>
void load(const Element* values, Vector& block) {
  static_assert(sizeof(Vector) == kLanes * sizeof(Element));
  std::memcpy(&block, values, sizeof(block));
}

template <class Vector, class Element>
void store(const Vector& block, Element* values) {
  static_assert(sizeof(Vector) == kLanes * sizeof(Element));
  std::memcpy(values, &block, sizeof(block));
}

// x, x + 1, …, x + 7
inline void ramp(float x, Floats& block) {
  block = x + Floats{0, 1, 2, 3, 4, 5, 6, 7};
}

template <class Vector>
void raise_to(const Vector& floor, Vector& block) {
  block = block < floor ? floor : block;  // NaN stays
}

// Lanes of two blocks by number; those of the second begin at kLanes.
template <int... kLane, class Vector>
void pick(const Vector& first, const Vector& second, Vector& result) {
#if defined(__clang__)
  result = __builtin_shufflevector(first, second, kLane...);
#else
  result = __builtin_shuffle(first, second, Ints{kLane...});
#endif
}

// x becomes exp(x) for x <= 0 within 3 units in the last place, and 0 below -87. Inlined always, for it
// rounds as its caller's file is compiled to.
[[gnu::always_inline]] inline void exponentiate_negative(Floats& x) {
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

}  // namespace fastpose
