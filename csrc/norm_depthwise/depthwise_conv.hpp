// Convolution of volumes with one small kernel per channel, channels innermost, and its two gradients.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/element_type.hpp"
#include "base/volume.hpp"

namespace fastpose {

// Kernel sides are odd and padded by half, so that an axis of n values becomes one of (n - 1) / stride + 1.
struct DepthwiseConv {
  std::int64_t batch;
  std::int64_t channels;
  Volume input;
  Volume kernel;
  Volume stride;
  ElementType element;  // of input and output: kFloat32 or kBFloat16; sums are float32
  int threads;          // of the pool; results are bitwise identical for any number

  Volume output() const {
    Volume size;
    for (std::size_t axis = 0; axis < 3; ++axis) size[axis] = (input[axis] - 1) / stride[axis] + 1;
    return size;
  }
};

// What the convolution is of: max(input·scale + shift, 0), or without the maximum; arrays [channels].
struct InputNorm {
  const float* mean;  // of the input, about which sums are taken
  const float* scale;
  const float* shift;
  bool relu;
};

// Volumes are [batch, frames, rows, columns, channels], weights [channels, kernel volume]; sizes are at least
// 1; `norm` may be null. Every element of the result is written. False: out of memory, the result is partly
// written. Safe to call from several threads at once.
[[nodiscard]] bool depthwise_conv(const DepthwiseConv& conv, const InputNorm* norm, const void* input,
                                  const float* weight, void* output) noexcept;

struct DepthwiseGradients {
  void* input;  // of the normed input, past the ReLU, where there is a norm
  float* weight;
  // [4, channels] where there is a norm: of input's gradient g and of g·(input - mean), before g is rounded
  // to its element and then as it is stored
  double* norm_sums;
};

[[nodiscard]] bool depthwise_conv_gradients(const DepthwiseConv& conv, const InputNorm* norm,
                                            const void* input, const void* output_gradient,
                                            const float* weight,
                                            const DepthwiseGradients& gradients) noexcept;

}  // namespace fastpose
