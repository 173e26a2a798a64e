// Batch norm of rows of channels, then an optional sum and ReLU; with the batch's own statistics both ways.
#pragma once

#include <cstdint>

#include "base/element_type.hpp"

namespace fastpose {

// Arrays of rows are dense [rows, channels] and do not overlap; per-channel arrays are float32 [channels].
struct BatchNorm {
  std::int64_t rows;      // at least 1
  std::int64_t channels;  // at least 1
  bool relu;
  float eps;
  ElementType element;  // of the rows: kFloat32 or kBFloat16; arithmetic is float32, totals float64
  int threads;          // of the pool; results are bitwise identical for any number
};

struct BatchNormForward {
  const void* input;
  const void* residual;  // added before the ReLU; may be null
  const float* weight;
  const float* bias;
  void* output;
  float* mean;
  float* variance;     // biased
  bool given = false;  // mean and variance are read; else they are the batch's, and written
};

// False: out of memory. Safe to call from several threads at once.
[[nodiscard]] bool batch_norm(const BatchNorm& norm, const BatchNormForward& arrays) noexcept;

// The first half of it: mean and variance, which need no weight.
[[nodiscard]] bool batch_norm_moments(const BatchNorm& norm, const void* input, float* mean,
                                      float* variance) noexcept;

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

// The second half of it, where neither ReLU nor residual are left, from `sums` [2, channels] over all rows of
// the output's gradient g and of g·(input - mean), for the parameters, and `stored_sums` of g as it is
// stored, with which the input's gradient sums to zero. That gradient may take the place of the output's.
[[nodiscard]] bool batch_norm_finish_backward(const BatchNorm& norm, const double* sums,
                                              const double* stored_sums,
                                              const BatchNormBackward& arrays) noexcept;

}  // namespace fastpose
