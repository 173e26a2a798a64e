#include "heatmap_marks.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

namespace fastpose {
namespace {

constexpr float kScoreThreshold = 0.001f;
constexpr float kMaxCoordinate = 16777216.0f;  // 2^24: beyond it float32 no longer tells pixels apart
constexpr int kLanes = 4;

std::int64_t round_up(std::int64_t count) {
  return (count + kLanes - 1) / kLanes * kLanes;
}

// exp(x) for x <= 0 within 2 units in the last place, and 0 below -87; only operations that vectorise.
inline float exp_of_negative(float x) {
  constexpr float kLog2E = 1.44269504f, kLn2High = 0.693145752f, kLn2Low = 1.42860677e-6f;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const float clamped = std::max(x, -87.0f);
  const float shifted = clamped * kLog2E + kRound;
  const float power = shifted - kRound;
  const float r = clamped - power * kLn2High - power * kLn2Low;
  float p = 1.3981999e-3f;
  p = p * r + 8.3334519e-3f;
  p = p * r + 4.1665796e-2f;
  p = p * r + 1.6666666e-1f;
  p = p * r + 0.5f;
  p = p * r * r + r + 1.0f;
  const auto scale = std::bit_cast<std::uint32_t>(shifted) << 23;  // the integer sits in the low bits
  const float value = std::bit_cast<float>(std::bit_cast<std::uint32_t>(p) + scale);
  return x < -87.0f ? 0.0f : value;
}

bool is_drawn(const float* keypoint) {
  const float x = keypoint[0], y = keypoint[1], score = keypoint[2];
  return score >= kScoreThreshold && std::isfinite(score) && std::abs(x) <= kMaxCoordinate &&
         std::abs(y) <= kMaxCoordinate;
}

// First pixel and one past the last of int(low - radius)..int(high + radius), clipped to [0, size).
// Truncation toward zero also admits pixel 0 for a window that ends within a pixel before it.
void clip_window(float low, float high, float radius, std::int64_t size, std::int64_t& first,
                 std::int64_t& end) {
  const auto limit = static_cast<float>(size);
  first = static_cast<std::int64_t>(std::clamp(low - radius, 0.0f, limit));
  end = std::min(static_cast<std::int64_t>(std::clamp(high + radius, -1.0f, limit)) + 1, size);
}

// peak * exp(decay * (first + i - centre)^2), i in [0, count); writes up to the next multiple of kLanes.
void gaussian(std::int64_t first, std::int64_t count, float centre, float decay, float peak, float* values) {
  const float offset = static_cast<float>(first) - centre;
  for (std::int64_t i = 0; i < count; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      const float distance = offset + static_cast<float>(static_cast<int>(i) + lane);
      values[i + lane] = peak * exp_of_negative(decay * distance * distance);
    }
  }
}

}  // namespace

MarkGeometry::MarkGeometry(std::int64_t height, std::int64_t width, double sigma)
    : height(height),
      width(width),
      radius(static_cast<float>(3.0 * sigma)),
      decay(static_cast<float>(-0.5 / (sigma * sigma))) {
  const auto window = static_cast<std::int64_t>(std::min(6.0 * sigma, 1e9)) + 5;
  column_capacity = round_up(std::min(width, window));
  row_capacity = round_up(std::min(height, window));
}

void place_joint(const MarkGeometry& geometry, const float* keypoint, float* columns, float* rows,
                 Mark& mark) {
  mark = Mark{};
  if (!is_drawn(keypoint)) return;
  const float x = keypoint[0], y = keypoint[1];
  clip_window(x, x, geometry.radius, geometry.width, mark.x0, mark.x1);
  clip_window(y, y, geometry.radius, geometry.height, mark.y0, mark.y1);
  if (mark.empty()) return;
  mark.columns = columns;
  mark.rows = rows;
  gaussian(mark.x0, mark.x1 - mark.x0, x, geometry.decay, 1.0f, columns);
  gaussian(mark.y0, mark.y1 - mark.y0, y, geometry.decay, keypoint[2], rows);
}

void place_limb(const MarkGeometry& geometry, const float* a, const float* b, float* columns, float* rows,
                Mark& mark) {
  mark = Mark{};
  if (!is_drawn(a) || !is_drawn(b)) return;
  const float dx = b[0] - a[0], dy = b[1] - a[1];
  if (dx * dx + dy * dy < 1.0f) {
    place_joint(geometry, a, columns, rows, mark);
    return;
  }
  clip_window(std::min(a[0], b[0]), std::max(a[0], b[0]), geometry.radius, geometry.width, mark.x0, mark.x1);
  clip_window(std::min(a[1], b[1]), std::max(a[1], b[1]), geometry.radius, geometry.height, mark.y0, mark.y1);
  mark.is_segment = true;
  mark.ax = a[0];
  mark.ay = a[1];
  mark.length = std::hypot(double{b[0]} - a[0], double{b[1]} - a[1]);
  mark.ux = (double{b[0]} - a[0]) / mark.length;
  mark.uy = (double{b[1]} - a[1]) / mark.length;
  mark.peak = std::min(a[2], b[2]);
}

void segment_row(const MarkGeometry& geometry, const Mark& mark, std::int64_t y, float* values) {
  // In double at the row's start: an end far outside the image costs no precision inside it.
  const double x_start = static_cast<double>(mark.x0) - mark.ax;
  const double y_offset = static_cast<double>(y) - mark.ay;
  const double along = mark.ux * x_start + mark.uy * y_offset;
  const auto past_a = static_cast<float>(along);
  const auto past_b = static_cast<float>(along - mark.length);
  const auto across = static_cast<float>(mark.ux * y_offset - mark.uy * x_start);
  const auto along_step = static_cast<float>(mark.ux);
  const auto across_step = static_cast<float>(-mark.uy);
  const std::int64_t count = mark.x1 - mark.x0;
  for (std::int64_t i = 0; i < count; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      const auto step = static_cast<float>(static_cast<int>(i) + lane);
      const float beyond =
          std::max(std::max(-(past_a + along_step * step), past_b + along_step * step), 0.0f);
      const float aside = across + across_step * step;
      const float square = beyond * beyond + aside * aside;
      values[i + lane] = mark.peak * exp_of_negative(geometry.decay * square);
    }
  }
}

}  // namespace fastpose
