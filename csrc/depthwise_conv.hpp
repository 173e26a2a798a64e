// Convolution of volumes with one small kernel per channel, channels innermost, and its two gradients.
#pragma once

#include <cstddef>
#include <cstdint>

#include "element_type.hpp"
#include "volume.hpp"

namespace fastpose {

// Kernel sides are odd and padded by half, so that an axis of n values becomes one of (n - 1) / stride + 1.
struct DepthwiseConv {
  std::int64_t batch;
  std::int64_t channels;
  Volume input;
  Volume kernel;
  Volume stride;
  ElementType element;  // of input and output: kFloat32 or kBFloat16; sums are float32
  int threads;          // of the pool; results do not depend on it

  Volume output() const {
    Volume size;
    for (std::size_t axis = 0; axis < 3; ++axis) size[axis] = (input[axis] - 1) / stride[axis] + 1;
    return size;
  }
};

// Volumes are [batch, frames, rows, columns, channels], weights [channels, kernel volume]; sizes are at least
// 1. Every element of the result is written. False: out of memory, the result is partly written. Safe to call
// from several threads at once.
[[nodiscard]] bool depthwise_conv(const DepthwiseConv& conv, const void* input, const float* weight,
                                  void* output) noexcept;

[[nodiscard]] bool depthwise_conv_input_gradient(const DepthwiseConv& conv, const void* output_gradient,
                                                 const float* weight, void* input_gradient) noexcept;

[[nodiscard]] bool depthwise_conv_weight_gradient(const DepthwiseConv& conv, const void* input,
                                                  const void* output_gradient,
                                                  float* weight_gradient) noexcept;

}  // namespace fastpose
