// Decimal text to float, each result equal to (float)(the double nearest to the text). No locale, no throw.
#pragma once

#include <bit>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <limits>
#include <system_error>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

namespace fastpose {

inline bool is_digit(char c) {
  return static_cast<unsigned char>(c - '0') < 10;
}

// Bit i of the result is set where p[i] is no decimal digit, i < 16.
inline unsigned non_digits_of_16(const char* p) {
#ifdef __SSE2__
  const __m128i text = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  // Digits become 0..9; adding 118 with saturation sets the top bit of all else.
  const __m128i digits = _mm_sub_epi8(text, _mm_set1_epi8('0'));
  return static_cast<unsigned>(_mm_movemask_epi8(_mm_adds_epu8(digits, _mm_set1_epi8(118))));
#else
  unsigned mask = 0;
  for (int i = 0; i < 16; ++i) mask |= static_cast<unsigned>(!is_digit(p[i])) << i;
  return mask;
#endif
}

inline std::uint64_t load_8_bytes(const char* p) {
  static_assert(std::endian::native == std::endian::little, "the first character must be the lowest byte");
  std::uint64_t bytes;
  std::memcpy(&bytes, p, sizeof(bytes));
  return bytes;
}

// The value of eight digits, most significant in the lowest byte; a zero byte counts as the digit 0.
inline std::uint64_t value_of_8_digits(std::uint64_t text) {
  text = (text & 0x0F0F0F0F0F0F0F0F) * (10 * (1 << 8) + 1) >> 8;
  text = (text & 0x00FF00FF00FF00FF) * (100 * (1 << 16) + 1) >> 16;
  return (text & 0x0000FFFF0000FFFF) * (10000 * (std::uint64_t{1} << 32) + 1) >> 32;
}

constexpr int kPlainNumberWindow = 24;  // bytes that read_plain_number may look at

// Reads the commonest shape of number at p: an optional minus, one to seven digits, a point, one to eight
// digits and a space, at most 16 characters. Returns the place after the space, or nullptr for any other
// text. kPlainNumberWindow bytes must be readable.
inline const char* read_plain_number(const char* p, float& value) {
  // Branches on lengths would be mispredicted, so there are none: only on the shape, nearly always the same.
  const unsigned marks = non_digits_of_16(p);
  // From the mask, not by comparing p[0]: a compiled setcc chains each number to the one before it.
  const unsigned negative = marks & 1;
  const unsigned unsigned_marks = marks - negative;
  const unsigned later_marks = unsigned_marks & (unsigned_marks - 1);
  if (later_marks == 0) [[unlikely]]
    return nullptr;
  const unsigned point = std::countr_zero(unsigned_marks);
  const unsigned stop = std::countr_zero(later_marks);
  const unsigned whole_digits = point - negative;
  const unsigned fraction_digits = stop - point - 1;
  if (p[point] != '.' || p[stop] != ' ' || whole_digits - 1 >= 7 || fraction_digits - 1 >= 8 ||
      ((p[0] ^ '-') & -negative) != 0) [[unlikely]]
    return nullptr;
  const std::uint64_t whole = load_8_bytes(p + negative) << (64 - 8 * whole_digits);
  const std::uint64_t fraction =
      load_8_bytes(p + point + 1) & (~std::uint64_t{0} >> (64 - 8 * fraction_digits));
  // The fraction is padded to eight digits. Below 10^15 a double is exact, so one division rounds once.
  const auto scaled =
      static_cast<std::int64_t>(value_of_8_digits(whole) * 100'000'000 + value_of_8_digits(fraction));
  const auto magnitude = static_cast<float>(static_cast<double>(scaled) / 1e8);
  value = std::bit_cast<float>(std::bit_cast<std::uint32_t>(magnitude) | negative << 31);
  return p + stop + 1;
}

// Reads the whole of [first, last) as Python's float() would, underscores excepted: "+.5", "5.", "7e-05",
// "nan", "-Infinity". False if it is no number. The value may be NaN or infinite.
bool read_number(const char* first, const char* last, float& value) noexcept;

// Reads the whole of [first, last), digits only. False if it is anything else or does not fit.
inline bool read_unsigned(const char* first, const char* last, std::uint64_t& value) noexcept {
  const auto [stop, error] = std::from_chars(first, last, value);
  return error == std::errc{} && stop == last;
}

}  // namespace fastpose
