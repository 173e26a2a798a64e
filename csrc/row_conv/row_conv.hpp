// Convolution of rows: float32 volumes whose channels are neighbours in memory, padded by half the kernel.
// Batch norm and ReLU of the input are applied to what is read, and statistics of the output are taken while
// it is in the caches: a normalised volume is never stored.
#pragma once

#include <cstdint>

#include "base/volume.hpp"

namespace fastpose {

struct RowConv {
  std::int64_t batch;
  std::int64_t in_channels;
  std::int64_t out_channels;
  Volume input;
  Volume kernel;  // odd
  Volume stride;
  int threads;  // of the pool; results are bitwise identical for any number

  Volume output() const {
    Volume size;
    for (std::size_t axis = 0; axis < 3; ++axis) size[axis] = (input[axis] + stride[axis] - 1) / stride[axis];
    return size;
  }
};

// Batch norm by statistics that are given, and ReLU on request, of the rows that are read; without `mean`
// they are read as they are. Arrays are [C].
struct RowNorm {
  const float* mean;
  const float* variance;  // biased
  const float* weight;
  const float* bias;
  float eps;
  bool relu;
};

// relu(y·scale + shift + residual) for what is written; without `scale` it is written as it is.
struct RowFinish {
  const float* scale;  // [C']
  const float* shift;
  const float* residual;  // of the shape of the output; may be null
  bool relu;
};

// Rows are dense [B, T, H, W, C], weights [C', C, kt, kh, kw].
struct RowConvForward {
  const float* input;
  RowNorm norm;
  const float* weight;
  float* output;
  float* mean;      // of the output [C'], before `finish`; may be null
  float* variance;  // biased
  RowFinish finish;
};

// False: out of memory. Safe to call from several threads at once.
[[nodiscard]] bool row_conv(const RowConv& conv, const RowConvForward& arrays) noexcept;

struct RowConvBackward {
  const float* input;
  RowNorm norm;
  const float* weight;
  const float* output;
  const float* output_mean;
  const float* output_gradient;
  const float* mean_gradient;  // of the output's statistics [C']; may be null
  const float* variance_gradient;
  float* input_gradient;   // through the rows, not through their statistics; may be null
  float* weight_gradient;  // may be null
  float* norm_gradients;   // [4, C] with `norm` and `input_gradient`: of its mean, variance, weight and bias
};

[[nodiscard]] bool row_conv_backward(const RowConv& conv, const RowConvBackward& arrays) noexcept;

}  // namespace fastpose
