// When a joint counts as present.
#pragma once

#include <cmath>
#include <limits>

namespace fastpose {

// Pixels; a coordinate beyond it is damage, and squares of what is within stay finite in float32.
inline constexpr float kMaxCoordinate = 1e6f;

// A joint is missing if its score is not a positive finite number, or a coordinate is NaN or beyond
// kMaxCoordinate.
inline bool is_present(float x, float y, float score) {
  return score > 0.0f && score <= std::numeric_limits<float>::max() && std::abs(x) <= kMaxCoordinate &&
         std::abs(y) <= kMaxCoordinate;
}

}  // namespace fastpose
