// Dtypes and the exponential, eight floats at a time, against scalar definitions, by one set of
// instructions.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "base/floats.hpp"
#include "base/instructions.hpp"
#include "base/number_formats.hpp"
#include "check.hpp"
#include "instruction_sets.hpp"

namespace {

using namespace fastpose;

template <class Element>
struct Writing {
  const std::vector<float>& values;  // whole blocks
  std::vector<Element> written;

  template <class Target>
  void run() {
    for (std::size_t i = 0; i < values.size(); i += kLanes) {
      Floats block;
      load(values.data() + i, block);
      write<Target>(block, written.data() + i);
    }
  }
};

struct Reading {
  const std::vector<BFloat16>& elements;  // whole blocks
  std::vector<float> values;

  template <class Target>
  void run() {
    for (std::size_t i = 0; i < elements.size(); i += kLanes) {
      Floats block;
      read<Target>(elements.data() + i, block);
      store(block, values.data() + i);
    }
  }
};

template <class Element>
std::vector<Element> rounded(const std::vector<float>& values) {
  Writing<Element> writing{values, std::vector<Element>(values.size())};
  run_on_best_target(writing);
  return writing.written;
}

std::uint32_t bits_of(float value) {
  return std::bit_cast<std::uint32_t>(value);
}

// Of the two neighbours of a number, the nearer one, or that with an even last place; infinity stands where
// the next number would.
float nearest_bfloat16(float value) {
  if (!std::isfinite(value)) return value;
  const std::uint32_t below = bits_of(value) & 0xFFFF0000u, above = below + 0x10000u;
  const double magnitude = std::abs(double{value});
  const double low = std::abs(double{std::bit_cast<float>(below)});
  const double high =
      (above & 0x7F800000u) == 0x7F800000u ? 0x1p128 : std::abs(double{std::bit_cast<float>(above)});
  const bool up =
      magnitude - low > high - magnitude || (magnitude - low == high - magnitude && (below >> 16) % 2 == 1);
  return std::bit_cast<float>(up ? above : below);
}

// Every upper half of a float, and lower halves about the middle between two bfloat16.
void test_bfloat16() {
  std::vector<float> values;
  for (std::uint32_t upper = 0; upper <= 0xFFFF; ++upper) {
    for (const std::uint32_t lower :
         {0x0000u, 0x0001u, 0x7FFFu, 0x8000u, 0x8001u, 0xFFFFu, 0x1234u, 0xABCDu}) {
      values.push_back(std::bit_cast<float>(upper << 16 | lower));
    }
  }
  const std::vector<BFloat16> found = rounded<BFloat16>(values);
  const bool flushes = best_instructions() == Instructions::kAvx512BFloat16;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const float value = widen(found[i]);
    if (std::isnan(values[i])) {
      CHECK(std::isnan(value));
    } else if (flushes && std::fpclassify(values[i]) == FP_SUBNORMAL) {
      CHECK(value == 0.0f || bits_of(value) == bits_of(nearest_bfloat16(values[i])));
    } else {
      CHECK(bits_of(value) == bits_of(nearest_bfloat16(values[i])));
    }
  }

  std::vector<BFloat16> all;
  for (std::uint32_t bits = 0; bits <= 0xFFFF; ++bits) all.push_back({static_cast<std::int16_t>(bits)});
  Reading reading{all, std::vector<float>(all.size())};
  run_on_best_target(reading);
  for (std::uint32_t bits = 0; bits <= 0xFFFF; ++bits) {
    CHECK(bits_of(reading.values[bits]) == bits << 16 && bits_of(widen(all[bits])) == bits << 16);
  }
}

// (-1)^s · 2^(e - 15) · 1.m, and its subnormals.
void test_widening_of_float16() {
  for (std::uint32_t bits = 0; bits <= 0xFFFF; ++bits) {
    const int exponent = static_cast<int>(bits >> 10 & 31);
    const double fraction = bits & 0x3FF;
    const float found = widen(Float16{static_cast<std::int16_t>(bits)});
    CHECK(std::signbit(found) == (bits >= 0x8000));
    if (exponent == 31) {
      CHECK(fraction == 0 ? std::isinf(found) : std::isnan(found));
    } else {
      CHECK(std::abs(double{found}) ==
            (exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25)));
    }
  }
}

// About every float16 from 0 to the largest and every middle between two.
void test_rounding_to_float16() {
  constexpr std::uint32_t kInfinity = 0x7C00;
  const auto half = [](std::uint32_t bits) { return widen(Float16{static_cast<std::int16_t>(bits)}); };
  std::vector<float> values;
  std::vector<std::uint32_t> expected;
  const auto expect = [&](float value, std::uint32_t bits) {
    values.push_back(value);
    expected.push_back(bits);
  };
  for (std::uint32_t bits = 0; bits < kInfinity; ++bits) {
    const float low = half(bits), high = bits + 1 == kInfinity ? 65536.0f : half(bits + 1);
    const float middle = low + (high - low) / 2;
    expect(low, bits);
    expect(std::nextafter(middle, 0.0f), bits);
    expect(middle, bits + bits % 2);
    expect(std::nextafter(middle, high), bits + 1);
  }
  expect(std::numeric_limits<float>::max(), kInfinity);
  expect(std::numeric_limits<float>::infinity(), kInfinity);
  expect(std::numeric_limits<float>::denorm_min(), 0);
  while (values.size() % kLanes != 0) expect(1.0f, 0x3C00);
  const std::vector<Float16> found = rounded<Float16>(values);
  for (std::size_t i = 0; i < values.size(); ++i) {
    CHECK(static_cast<std::uint16_t>(found[i].bits) == expected[i]);
  }
}

struct Exponentials {
  std::vector<float> values;  // whole blocks

  template <class Target>
  void run() {
    for (std::size_t i = 0; i < values.size(); i += kLanes) {
      Floats block;
      load(values.data() + i, block);
      exponentiate_negative(block);
      store(block, values.data() + i);
    }
  }
};

void test_exponential() {
  constexpr std::uint32_t kStep = 997;  // of the floats from -0 to -87
  Exponentials body;
  for (std::uint32_t bits = 0x80000000u; bits <= bits_of(-87.0f); bits += kStep) {
    body.values.push_back(std::bit_cast<float>(bits));
  }
  while (body.values.size() % kLanes != 0) body.values.push_back(-87.0f);
  const std::vector<float> arguments = body.values;
  run_on_best_target(body);
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const double exact = std::exp(double{arguments[i]});
    const double place = std::ldexp(1.0, std::ilogb(exact) - 23);
    CHECK(std::abs(body.values[i] - exact) <= 3 * place);
  }

  const float infinity = std::numeric_limits<float>::infinity();
  Exponentials limits{
      {0.0f, -87.0f, std::nextafter(-87.0f, -infinity), -88.0f, -1e30f, -infinity, -1e-40f, -0.0f}};
  run_on_best_target(limits);
  CHECK(limits.values[0] == 1.0f && limits.values[1] > 0.0f && limits.values[6] == 1.0f &&
        limits.values[7] == 1.0f);
  for (const std::size_t i : {2, 3, 4, 5}) CHECK(bits_of(limits.values[i]) == 0);
}

}  // namespace

int main(int argc, char** argv) {
  use_instructions(argc, argv);
  test_bfloat16();
  test_widening_of_float16();
  test_rounding_to_float16();
  test_exponential();
}
