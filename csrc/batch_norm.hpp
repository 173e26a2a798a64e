// Batch norm of rows of channels with the batch's own statistics, then an optional sum and ReLU; both ways.
#pragma once

#include <cstdint>

#include "element_type.hpp"

namespace fastpose {

// Arrays of rows are dense [rows, channels] and do not overlap; per-channel arrays are float32 [channels].
struct BatchNorm {
  std::int64_t rows;      // at least 1
  std::int64_t channels;  // at least 1
  bool relu;
  float eps;
  ElementType element;  // of the rows: kFloat32 or kBFloat16; arithmetic is float32, totals float64
  int threads;          // of the pool; results do not depend on it
};

struct BatchNormForward {
  const void* input;
  const void* residual;  // added before the ReLU; may be null
  const float* weight;
  const float* bias;
  void* output;
  float* mean;
  float* variance;  // biased
};

// False: out of memory. Safe to call from several threads at once.
[[nodiscard]] bool batch_norm(const BatchNorm& norm, const BatchNormForward& arrays) noexcept;

struct BatchNormBackward {
  const void* output_gradient;
  const void* input;
  const void* output;  // where there are a residual and a ReLU, else null
  const float* weight;
  const float* bias;
  const float* mean;
  const float* variance;
  void* input_gradient;
  void* residual_gradient;  // where there is `output`, else null
  float* weight_gradient;
  float* bias_gradient;
};

[[nodiscard]] bool batch_norm_backward(const BatchNorm& norm, const BatchNormBackward& arrays) noexcept;

}  // namespace fastpose
