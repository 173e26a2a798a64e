// What convolutions read: rows as they are, normalised, or the gradients of rows that were.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "row_conv/channel_vectors.hpp"
#include "row_conv/row_conv.hpp"

namespace fastpose {

// Batch norm as one multiplication and one addition: x·scale + shift, of each channel.
struct ChannelScale {
  std::vector<float> scale, shift;

  ChannelScale(const RowNorm& norm, std::int64_t channels) {
    if (norm.mean == nullptr) return;
    for (std::int64_t c = 0; c < channels; ++c) {
      scale.push_back(norm.weight[c] / std::sqrt(norm.variance[c] + norm.eps));
      shift.push_back(norm.bias[c] - norm.mean[c] * scale.back());
    }
  }
};

struct ScaledRows {
  const float* input;
  const ChannelScale& norm;
  bool relu;
  std::int64_t channels;

  void read(float* target, std::int64_t row, std::int64_t count) const {
    const float* values = input + row * channels;
    if (norm.scale.empty()) {
      std::copy_n(values, count * channels, target);
      return;
    }
    const float floor = relu ? 0.0f : -std::numeric_limits<float>::infinity();
    for (; count > 0; --count, values += channels, target += channels) {
      each_channel(channels, [&](std::int64_t c, auto lanes) {
        typename decltype(lanes)::type value, scale, shift;
        get(values + c, value);
        get(norm.scale.data() + c, scale);
        get(norm.shift.data() + c, shift);
        value = value * scale + shift;
        raise(value, floor);
        put(value, target + c);
      });
    }
  }
};

// What the gradients of an output's mean and variance add to that of each of its values y: (y - mean)·slope +
// offset.
struct StatisticsGradient {
  std::vector<float> slope, offset;

  StatisticsGradient(const RowConvBackward& arrays, std::int64_t channels, std::int64_t rows) {
    if (arrays.mean_gradient == nullptr) return;
    for (std::int64_t c = 0; c < channels; ++c) {
      slope.push_back(2 * arrays.variance_gradient[c] / static_cast<float>(rows));
      offset.push_back(arrays.mean_gradient[c] / static_cast<float>(rows));
    }
  }
};

struct GradientRows {
  const RowConvBackward& arrays;
  const StatisticsGradient& statistics;
  std::int64_t channels;

  void read(float* target, std::int64_t row, std::int64_t count) const {
    const float* gradient = arrays.output_gradient + row * channels;
    if (statistics.slope.empty()) {
      std::copy_n(gradient, count * channels, target);
      return;
    }
    const float* values = arrays.output + row * channels;
    for (; count > 0; --count, values += channels, gradient += channels, target += channels) {
      each_channel(channels, [&](std::int64_t c, auto lanes) {
        typename decltype(lanes)::type value, mean, slope, offset, direct;
        get(values + c, value);
        get(arrays.output_mean + c, mean);
        get(statistics.slope.data() + c, slope);
        get(statistics.offset.data() + c, offset);
        get(gradient + c, direct);
        value = direct + ((value - mean) * slope + offset);
        put(value, target + c);
      });
    }
  }
};

}  // namespace fastpose
