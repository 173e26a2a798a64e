// The first convolution of a network on pose heatmaps, straight from the keypoints: a heatmap is zero but for
// a few small windows, so only their pixels are convolved, and no heatmap is ever written.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/element_type.hpp"
#include "base/volume.hpp"
#include "heatmap/pose_maps.hpp"

namespace fastpose {

// Any mode but kGrayscaleMax, whose maps are no sums over joints.
struct PoseStem {
  PoseMaps maps;
  std::int64_t out_channels;
  Volume kernel;  // at most the padded input
  Volume stride;
  Volume padding;
  ElementType element;  // of the output: kFloat32 or kBFloat16; sums are float32
  int threads;          // of the pool; results are bitwise identical for any number

  Volume input() const { return {maps.frames, maps.height, maps.width}; }
  Volume output() const {
    Volume size;
    for (std::size_t axis = 0; axis < 3; ++axis) {
      size[axis] = (input()[axis] + 2 * padding[axis] - kernel[axis]) / stride[axis] + 1;
    }
    return size;
  }
};

// Weights are [out_channels, channels of the maps, kernel volume], outputs [batch, frames, rows, columns,
// out_channels], keypoints and their gradient [batch, persons, frames, joints, 3]. Every element of the
// result is written. False: out of memory, the result is partly written. Safe to call from several threads.
[[nodiscard]] bool pose_stem(const PoseStem& stem, const float* weight, void* output) noexcept;

[[nodiscard]] bool pose_stem_weight_gradient(const PoseStem& stem, const void* output_gradient,
                                             float* weight_gradient) noexcept;

[[nodiscard]] bool pose_stem_keypoint_gradient(const PoseStem& stem, const float* weight,
                                               const void* output_gradient,
                                               float* keypoint_gradient) noexcept;

}  // namespace fastpose
