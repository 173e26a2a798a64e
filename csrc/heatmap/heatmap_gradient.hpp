// The gradient of rendered maps with respect to the keypoints.
#pragma once

#include <array>
#include <cstdint>

#include "heatmap/heatmap_renderer.hpp"

namespace fastpose {

// A pixel's gradient goes to the mark that gave it its value: of equal ones the first person, then (grayscale
// by maximum) the first joint. Both ends of a limb share the gradient of equal scores.
struct HeatmapGradientJob {
  PoseMaps maps;
  ElementType element;                  // of the gradient
  const void* gradient;                 // [batch, channels, frames, height, width]
  std::array<std::int64_t, 5> strides;  // of the gradient, in elements; any
  float* result;                        // [batch, persons, frames, joints, 3]; every element is written
  int threads;                          // of the pool; the result does not depend on it
};

// Safe to call from several threads at once. False: out of memory, the result is partly written.
[[nodiscard]] bool render_heatmaps_backward(const HeatmapGradientJob& job) noexcept;

}  // namespace fastpose
