// Arrays that tests of operators draw, and compare with what they compute in float64.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

using Values = std::vector<float>;
using Truth = std::vector<double>;

inline constexpr int kThreads = 3;

inline Values draw(std::int64_t count) {
  static std::mt19937 random(1);
  std::normal_distribution<float> normal;
  Values values(static_cast<std::size_t>(count));
  for (float& value : values) value = normal(random);
  return values;
}

// Memory that shows what was not written.
inline Values fresh(std::size_t count) {
  return Values(count, std::numeric_limits<float>::quiet_NaN());
}

inline bool close(const Values& found, const Truth& truth, double tolerance) {
  double largest = 1, error = 0;
  for (std::size_t i = 0; i < truth.size(); ++i) {
    if (!std::isfinite(found[i])) return false;
    largest = std::max(largest, std::abs(truth[i]));
    error = std::max(error, std::abs(found[i] - truth[i]));
  }
  return error <= tolerance * largest;
}

// Values of an array in the element's format, and back.
struct Halves {
  std::vector<std::uint16_t> bits;

  explicit Halves(std::size_t count) : bits(count, 0x7FC0) {}
  explicit Halves(const Values& values) {
    for (const float value : values) {
      bits.push_back(static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(value) >> 16));
    }
  }
  Values widened() const {
    Values values;
    for (const std::uint16_t each : bits) {
      values.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(each) << 16));
    }
    return values;
  }
};
