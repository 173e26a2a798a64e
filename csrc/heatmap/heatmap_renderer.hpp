// Keypoints to heatmaps, limb maps or grayscale maps, composed in cache and written once.
#pragma once

#include "base/element_type.hpp"
#include "heatmap/pose_maps.hpp"

namespace fastpose {

enum class HeatmapLayout { kContiguous, kChannelsLast };  // [B, C, T, H, W] or [B, T, H, W, C] in memory

struct HeatmapJob {
  PoseMaps maps;
  ElementType element;
  HeatmapLayout layout;
  void* output;  // channels: joints, limbs, or 1; every element is written
  int threads;   // of the pool; the result does not depend on it
};

// Safe to call from several threads at once. False: out of memory, the output is partly written.
[[nodiscard]] bool render_heatmaps(const HeatmapJob& job) noexcept;

}  // namespace fastpose
