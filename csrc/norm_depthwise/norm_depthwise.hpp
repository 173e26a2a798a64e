// A depthwise convolution of batch norm (and ReLU), which is applied to what is read and never stored.
#pragma once

#include "norm_depthwise/depthwise_conv.hpp"

namespace fastpose {

struct NormDepthwise {
  DepthwiseConv conv;
  bool relu;
  float eps;
};

// Rows as in depthwise_conv.hpp, per-channel arrays as in batch_norm.hpp. False: out of memory.
struct NormDepthwiseForward {
  const void* input;
  const float* norm_weight;
  const float* norm_bias;
  const float* weight;
  void* output;
  float* mean;
  float* variance;     // biased
  bool given = false;  // as in batch_norm.hpp
};

[[nodiscard]] bool norm_depthwise(const NormDepthwise& job, const NormDepthwiseForward& arrays) noexcept;

struct NormDepthwiseBackward {
  const void* output_gradient;
  const void* input;
  const float* norm_weight;
  const float* norm_bias;
  const float* weight;
  const float* mean;
  const float* variance;
  void* input_gradient;
  float* norm_weight_gradient;
  float* norm_bias_gradient;
  float* weight_gradient;
};

[[nodiscard]] bool norm_depthwise_backward(const NormDepthwise& job,
                                           const NormDepthwiseBackward& arrays) noexcept;

}  // namespace fastpose
