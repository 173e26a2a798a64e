#include "decode/number_reader.hpp"

#include <algorithm>
#include <array>

#ifdef FASTPOSE_FAST_FLOAT
#include <fast_float/fast_float.h>
#endif

namespace fastpose {
namespace {

#ifdef FASTPOSE_FAST_FLOAT
using fast_float::from_chars;
#else
using std::from_chars;
#endif

constexpr std::array<double, 23> kPowersOfTen = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                                 1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                                 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
constexpr std::uint64_t kExactDouble = std::uint64_t{1} << 53;
constexpr std::uint64_t kDigitsFull = 1'000'000'000'000'000'000;  // one more digit could overflow
constexpr std::int64_t kHugeExponent = 1'000'000'000'000;

// digits·10^exponent; `exact` is false if digits beyond the first 19 were left out.
struct Decimal {
  std::uint64_t digits = 0;
  std::int64_t exponent = 0;
  bool exact = true;
};

bool equals_ignoring_case(const char* first, const char* last, const char* word) {
  for (; first != last && *word != '\0'; ++first, ++word) {
    if ((*first | 0x20) != *word) return false;
  }
  return first == last && *word == '\0';
}

const char* skip_digits(const char* p, const char* last, Decimal& decimal, int exponent_per_digit) {
  for (; p != last && is_digit(*p); ++p) {
    if (decimal.digits < kDigitsFull) {
      decimal.digits = decimal.digits * 10 + static_cast<std::uint64_t>(*p - '0');
      decimal.exponent += exponent_per_digit;
    } else {
      decimal.exact = false;
      decimal.exponent += exponent_per_digit + 1;
    }
  }
  return p;
}

// Reads [first, last), which has no sign, or returns false.
bool scan_decimal(const char* first, const char* last, Decimal& decimal) {
  const char* p = skip_digits(first, last, decimal, 0);
  bool has_digits = p != first;
  if (p != last && *p == '.') {
    const char* fraction = ++p;
    p = skip_digits(p, last, decimal, -1);
    has_digits |= p != fraction;
  }
  if (!has_digits) return false;
  if (p == last) return true;
  if ((*p | 0x20) != 'e') return false;
  if (++p == last) return false;
  const bool negative = *p == '-';
  if (negative || *p == '+') ++p;
  if (p == last) return false;
  std::int64_t exponent = 0;
  for (; p != last && is_digit(*p); ++p) exponent = std::min(exponent * 10 + (*p - '0'), kHugeExponent);
  decimal.exponent += negative ? -exponent : exponent;
  return p == last;
}

double nearest_double(const char* first, const char* last, const Decimal& decimal) {
  if (decimal.digits == 0) return 0.0;
  if (decimal.exact && decimal.digits <= kExactDouble && decimal.exponent >= -22 && decimal.exponent <= 22) {
    const auto digits = static_cast<double>(decimal.digits);
    return decimal.exponent < 0 ? digits / kPowersOfTen[static_cast<std::size_t>(-decimal.exponent)]
                                : digits * kPowersOfTen[static_cast<std::size_t>(decimal.exponent)];
  }
  double value = 0;
  if (from_chars(first, last, value).ec == std::errc::result_out_of_range) {
    return decimal.exponent > 0 ? std::numeric_limits<double>::infinity() : 0.0;
  }
  return value;
}

}  // namespace

bool read_number(const char* first, const char* last, float& value) noexcept {
  if (first == last) return false;
  const bool negative = *first == '-';
  if (negative || *first == '+') ++first;
  Decimal decimal;
  double magnitude;
  if (scan_decimal(first, last, decimal)) {
    magnitude = nearest_double(first, last, decimal);
  } else if (equals_ignoring_case(first, last, "inf") || equals_ignoring_case(first, last, "infinity")) {
    magnitude = std::numeric_limits<double>::infinity();
  } else if (equals_ignoring_case(first, last, "nan")) {
    magnitude = std::numeric_limits<double>::quiet_NaN();
  } else {
    return false;
  }
  value = static_cast<float>(negative ? -magnitude : magnitude);
  return true;
}

}  // namespace fastpose
