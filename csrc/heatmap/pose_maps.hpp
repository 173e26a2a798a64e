// Keypoints, and how they become maps: of joints, of limbs, or all in one.
#pragma once

#include <cstdint>
#include <span>

namespace fastpose {

enum class HeatmapMode { kHeatmap, kLimb, kGrayscaleSum, kGrayscaleMax };

struct Limb {
  std::int64_t a;
  std::int64_t b;
};

// Sizes are at least 0 (height and width at least 1), joints of limbs in range, sigma positive and finite.
struct PoseMaps {
  const float* keypoints;  // [batch, persons, frames, joints, 3]: x and y in pixels, score
  std::int64_t batch;
  std::int64_t persons;
  std::int64_t frames;
  std::int64_t joints;
  std::int64_t height;
  std::int64_t width;
  double sigma;  // pixels
  HeatmapMode mode;
  std::span<const Limb> limbs;  // kLimb only

  bool is_grayscale() const {
    return mode == HeatmapMode::kGrayscaleSum || mode == HeatmapMode::kGrayscaleMax;
  }
  // Joints or limbs of a frame.
  std::int64_t parts() const {
    return mode == HeatmapMode::kLimb ? static_cast<std::int64_t>(limbs.size()) : joints;
  }
  std::int64_t channels() const { return is_grayscale() ? 1 : parts(); }
  // Where the keypoints of a person in a frame begin.
  std::int64_t pose_offset(std::int64_t clip, std::int64_t person, std::int64_t frame) const {
    return ((clip * persons + person) * frames + frame) * joints * 3;
  }
};

}  // namespace fastpose
