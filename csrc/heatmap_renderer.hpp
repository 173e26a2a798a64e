// Keypoints to heatmaps, limb maps or grayscale maps, composed in cache and written once.
#pragma once

#include <cstdint>
#include <span>

#include "element_type.hpp"

namespace fastpose {

enum class HeatmapMode { kJoints, kLimbs, kGrayscaleSum, kGrayscaleMax };
enum class HeatmapLayout { kContiguous, kChannelsLast };  // [B, C, T, H, W] or [B, T, H, W, C] in memory
enum class RenderStatus { kOk, kOutOfMemory };

struct Limb {
  std::int64_t a;
  std::int64_t b;
};

// Sizes are at least 0 (height and width at least 1), joints of limbs in range, sigma positive and finite.
struct HeatmapJob {
  const float* keypoints;  // [batch, persons, frames, joints, 3]: x and y in pixels, score
  std::int64_t batch;
  std::int64_t persons;
  std::int64_t frames;
  std::int64_t joints;
  std::int64_t height;
  std::int64_t width;
  double sigma;  // pixels
  HeatmapMode mode;
  std::span<const Limb> limbs;  // kLimbs only
  ElementType element;
  HeatmapLayout layout;
  void* output;  // channels: joints, limbs, or 1; every element is written
  int threads;   // of the pool; the result does not depend on it
};

// Safe to call from several threads at once. On kOutOfMemory the output is partly written.
[[nodiscard]] RenderStatus render_heatmaps(const HeatmapJob& job) noexcept;

}  // namespace fastpose
