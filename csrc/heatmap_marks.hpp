// What one joint or limb of one person paints: a window of pixels and the values of its rows.
#pragma once

#include <cstdint>

namespace fastpose {

// Windows and values for one sigma and one image size; immutable.
struct MarkGeometry {
  MarkGeometry(std::int64_t height, std::int64_t width, double sigma);

  std::int64_t height;
  std::int64_t width;
  float radius;                  // 3 sigma
  float decay;                   // -1 / (2 sigma^2)
  std::int64_t column_capacity;  // floats in a joint's table of columns, a multiple of 4
  std::int64_t row_capacity;
};

// Pixels [x0, x1) x [y0, y1), inside the image; empty where nothing is drawn.
struct Mark {
  std::int64_t x0 = 0, x1 = 0, y0 = 0, y1 = 0;
  bool is_segment = false;
  // A joint: value = rows[y - y0] * columns[x - x0]. The tables are the caller's.
  float* columns = nullptr;
  float* rows = nullptr;
  // A segment: distances along it past end b and before end a, and across, are affine in x and y.
  double ux = 0, uy = 0;  // unit vector from a to b
  double ax = 0, ay = 0, length = 0;
  float peak = 0;

  bool empty() const { return x0 >= x1 || y0 >= y1; }
};

// `columns` and `rows` have the geometry's capacities. A keypoint is x, y, score.
void place_joint(const MarkGeometry& geometry, const float* keypoint, float* columns, float* rows,
                 Mark& mark);
void place_limb(const MarkGeometry& geometry, const float* a, const float* b, float* columns, float* rows,
                Mark& mark);

// Writes the segment's values of row y for x0..x1; `values` has room for x1 - x0 rounded up to 4.
void segment_row(const MarkGeometry& geometry, const Mark& mark, std::int64_t y, float* values);

}  // namespace fastpose
