// Dtypes of the arrays that operators read and write: their elements to float32 and back.
#pragma once

#include <bit>
#include <cstdint>
#include <type_traits>

#include "base/floats.hpp"

namespace fastpose {

// Bit patterns of non-negative values are ordered as the values are.
struct Float16 {
  std::int16_t bits;
  bool operator<(const Float16& other) const { return bits < other.bits; }
};
struct BFloat16 {
  std::int16_t bits;
  bool operator<(const BFloat16& other) const { return bits < other.bits; }
};

inline float widen(float value) {
  return value;
}

inline float widen(BFloat16 value) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(static_cast<std::uint16_t>(value.bits)) << 16);
}

inline float widen(Float16 value) {
  const auto bits = static_cast<std::uint16_t>(value.bits);
  const std::uint32_t sign = (bits & 0x8000u) << 16;
  const std::uint32_t magnitude = bits & 0x7FFFu;
  if (magnitude >= 0x7C00u)  // infinity and NaN
    return std::bit_cast<float>(sign | 0x7F800000u | (magnitude & 0x3FFu) << 13);
  // Rebased by a multiplication, which also serves subnormals.
  const float scaled = std::bit_cast<float>(magnitude << 13) * 0x1p112f;
  return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(scaled));
}

// Eight elements as bits.
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

// Rounds to the nearest value of the element's format, of two the even one.
template <class Element>
void encode(const Floats& values, Block<Element>& block);

template <>
inline void encode<float>(const Floats& values, Floats& block) {
  block = values;
}

// NaN stays NaN.
template <>
inline void encode<BFloat16>(const Floats& values, Shorts& block) {
  const Words bits = reinterpret_cast<Words>(values);
  const Words rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
  const Words number = values == values ? rounded : Words{} + 0x7FC0u;
  block = __builtin_convertvector(number, Shorts);
}

// Of non-negative values only.
template <>
inline void encode<Float16>(const Floats& values, Shorts& block) {
  // In [0.5, 1) a float's last place is 2^-24, the step of a float16 subnormal.
  const Ints subnormal = reinterpret_cast<Ints>(values + 0.5f) - 0x3F000000;
  const Floats limited = values < 65536.0f ? values : Floats{} + 65536.0f;
  const Ints rebased = reinterpret_cast<Ints>(limited) - 0x38000000;     // exponent bias 127 to 15
  const Ints normal = (rebased + 0x0FFF + ((rebased >> 13) & 1)) >> 13;  // 65520 and above: infinity
  block = __builtin_convertvector(rebased < 0x00800000 ? subnormal : normal, Shorts);
}

// Eight elements as floats.
inline void read(const float* values, Floats& block) {
  load(values, block);
}

inline void read(const BFloat16* values, Floats& block) {
  HalfWords halves;
  load(values, halves);
  block = reinterpret_cast<Floats>(__builtin_convertvector(halves, Words) << 16);
}

// The same by the target's own instruction: as a template has no target, GCC splits the conversion above.
template <class Target>
void read(const float* values, Floats& block) {
  load(values, block);
}

template <class Target>
void read(const BFloat16* values, Floats& block) {
#if defined(__x86_64__) && defined(__OPTIMIZE__) && !defined(__clang__)
  if constexpr (Target::kWidens) {
    HalfWords halves;
    load(values, halves);
    Words bits;
    asm("vpmovzxwd %1, %0" : "=v"(bits) : "vm"(halves));
    block = reinterpret_cast<Floats>(bits << 16);
    return;
  }
#endif
  read(values, block);
}

// Floats as eight elements. Where the target rounds to bfloat16 by an instruction, subnormal values become 0.
template <class Target, class Element>
void write(const Floats& block, Element* values) {
  Block<Element> encoded;
#if defined(__x86_64__) && defined(__OPTIMIZE__) && !defined(__clang__)
  // In assembly, for a template has no target of its own; GCC inlines it into a function that has.
  if constexpr (Target::kRoundsToBFloat16 && std::is_same_v<Element, BFloat16>) {
    asm("vcvtneps2bf16 %1, %0" : "=v"(encoded) : "v"(block));
    store(encoded, values);
    return;
  }
#endif
  encode<Element>(block, encoded);
  store(encoded, values);
}

}  // namespace fastpose
