// What one joint or limb of one person paints: a window of pixels and the values of its rows. All inline, so
// that the renderer compiles it for several instruction sets.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "base/floats.hpp"
#include "base/keypoint.hpp"

namespace fastpose {

// What windows and values depend on besides the keypoints.
struct MarkGeometry {
  MarkGeometry(std::int64_t height, std::int64_t width, double sigma);

  std::int64_t height;
  std::int64_t width;
  float radius;                  // 3 sigma
  float decay;                   // -1 / (2 sigma^2)
  std::int64_t column_capacity;  // values in a joint's table of columns, whole blocks
  std::int64_t row_capacity;
};

// Pixels [x0, x1) x [y0, y1), inside the image; x0 == x1 where nothing is drawn.
struct Window {
  std::int64_t x0 = 0, x1 = 0, y0 = 0, y1 = 0;
};

// A segment's distances along it and across it are affine in x and y.
struct Segment {
  double ax, ay;  // end a
  double ux, uy;  // unit vector from a to b
  double length;
  float peak;
};

struct Mark {
  std::int64_t group = 0;    // which of the joints or limbs that are placed
  std::int64_t channel = 0;  // of the maps of those
  Window window;
  bool is_segment = false;
  // A joint's value is rows[y - y0] * columns[x - x0]; the tables are the caller's.
  float* columns = nullptr;
  float* rows = nullptr;
  Segment segment{};
};

inline constexpr float kScoreThreshold = 0.001f;

inline std::int64_t whole_blocks(std::int64_t count) {
  return (count + kLanes - 1) / kLanes * kLanes;
}

// Of the joints that are present, those of a score that can be seen.
inline bool is_drawn(const float* keypoint) {
  return keypoint[2] >= kScoreThreshold && is_present(keypoint[0], keypoint[1], keypoint[2]);
}

// First pixel and one past the last of int(low - radius)..int(high + radius), clipped to [0, size).
// Truncation toward zero also admits pixel 0 for a window that ends within a pixel before it.
inline void clip_window(float low, float high, float radius, std::int64_t size, std::int64_t& first,
                        std::int64_t& end) {
  const auto limit = static_cast<float>(size);
  first = static_cast<std::int64_t>(std::clamp(low - radius, 0.0f, limit));
  end = std::min(static_cast<std::int64_t>(std::clamp(high + radius, -1.0f, limit)) + 1, size);
}

inline Window clip_window(const MarkGeometry& geometry, float x_low, float x_high, float y_low,
                          float y_high) {
  Window window;
  clip_window(x_low, x_high, geometry.radius, geometry.width, window.x0, window.x1);
  clip_window(y_low, y_high, geometry.radius, geometry.height, window.y0, window.y1);
  return window.x0 < window.x1 && window.y0 < window.y1 ? window : Window{};
}

// Zeros the values from index `count` on; `index` is the block's first.
inline void cut_block(std::int64_t index, std::int64_t count, Floats& block) {
  Floats step;
  ramp(static_cast<float>(index), step);
  block = step < static_cast<float>(count) ? block : Floats{};
}

// peak * exp(decay * (first + i - centre)^2), i in [0, count), then zeros to a whole block.
inline void gaussian(std::int64_t first, std::int64_t count, float centre, float decay, float peak,
                     float* values) {
  for (std::int64_t i = 0; i < count; i += kLanes) {
    Floats block;
    ramp(static_cast<float>(first + i), block);
    block -= centre;
    block = decay * block * block;
    exponentiate_negative(block);
    block *= peak;
    cut_block(i, count, block);
    store(block, values + i);
  }
}

inline MarkGeometry::MarkGeometry(std::int64_t height, std::int64_t width, double sigma)
    : height(height),
      width(width),
      radius(static_cast<float>(3.0 * sigma)),
      decay(static_cast<float>(-0.5 / (sigma * sigma))) {
  const auto window = static_cast<std::int64_t>(std::min(6.0 * sigma, 1e9)) + 5;
  column_capacity = whole_blocks(std::min(width, window));
  row_capacity = whole_blocks(std::min(height, window));
}

// A keypoint is x, y, score. The mark's tables must have the geometry's capacities.
inline void place_joint(const MarkGeometry& geometry, const float* keypoint, Mark& mark) {
  mark.window = Window{};
  mark.is_segment = false;
  if (!is_drawn(keypoint)) return;
  const float x = keypoint[0], y = keypoint[1];
  const Window window = clip_window(geometry, x, x, y, y);
  mark.window = window;
  gaussian(window.x0, window.x1 - window.x0, x, geometry.decay, 1.0f, mark.columns);
  gaussian(window.y0, window.y1 - window.y0, y, geometry.decay, keypoint[2], mark.rows);
}

inline void place_limb(const MarkGeometry& geometry, const float* a, const float* b, Mark& mark) {
  mark.window = Window{};
  if (!is_drawn(a) || !is_drawn(b)) return;
  const float dx = b[0] - a[0], dy = b[1] - a[1];
  if (dx * dx + dy * dy < 1.0f) {
    place_joint(geometry, a, mark);
    return;
  }
  mark.window = clip_window(geometry, std::min(a[0], b[0]), std::max(a[0], b[0]), std::min(a[1], b[1]),
                            std::max(a[1], b[1]));
  mark.is_segment = true;
  const double x = double{b[0]} - a[0], y = double{b[1]} - a[1];
  const double length = std::hypot(x, y);
  mark.segment = {a[0], a[1], x / length, y / length, length, std::min(a[2], b[2])};
}

// Writes the segment's values of row y for x0..x1, padded with zeros to whole blocks.
inline void segment_row(const MarkGeometry& geometry, const Mark& mark, std::int64_t y, float* values) {
  // In double at the row's start: an end far outside the image costs no precision inside it.
  const Segment& segment = mark.segment;
  const double x_start = static_cast<double>(mark.window.x0) - segment.ax;
  const double y_offset = static_cast<double>(y) - segment.ay;
  const double along = segment.ux * x_start + segment.uy * y_offset;
  const auto from_a = static_cast<float>(along);
  const auto from_b = static_cast<float>(along - segment.length);
  const auto across = static_cast<float>(segment.ux * y_offset - segment.uy * x_start);
  const auto along_step = static_cast<float>(segment.ux);
  const auto across_step = static_cast<float>(segment.uy);
  const std::int64_t count = mark.window.x1 - mark.window.x0;
  for (std::int64_t i = 0; i < count; i += kLanes) {
    Floats step;
    ramp(static_cast<float>(i), step);
    Floats beyond = from_b + along_step * step;  // past the nearer end, or 0
    raise_to(-(from_a + along_step * step), beyond);
    raise_to(Floats{}, beyond);
    const Floats aside = across - across_step * step;
    Floats block = geometry.decay * (beyond * beyond + aside * aside);
    exponentiate_negative(block);
    block *= segment.peak;
    cut_block(i, count, block);
    store(block, values + i);
  }
}

}  // namespace fastpose
