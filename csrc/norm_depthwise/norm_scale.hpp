// Batch norm as one multiplication and one addition.
#pragma once

#include <cmath>
#include <cstddef>
#include <vector>

#include "norm_depthwise/batch_norm.hpp"

namespace fastpose {

// normalised = input·scale + shift, of each channel.
struct NormScale {
  std::vector<float> scale, shift;

  NormScale(const BatchNorm& norm, const float* weight, const float* bias, const float* mean,
            const float* variance)
      : scale(static_cast<std::size_t>(norm.channels)), shift(scale.size()) {
    for (std::size_t c = 0; c < scale.size(); ++c) {
      scale[c] = weight[c] / std::sqrt(variance[c] + norm.eps);
      shift[c] = bias[c] - mean[c] * scale[c];
    }
  }
};

}  // namespace fastpose
