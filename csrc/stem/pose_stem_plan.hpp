// Which outputs of a convolution a pixel of its input reaches, and by which taps.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/line_vector.hpp"
#include "stem/pose_stem.hpp"

namespace fastpose {

struct StemAxis {
  std::int64_t input, output, kernel, stride, padding;

  // The tap by which `target` sees `source`; inside the kernel if in [0, kernel).
  std::int64_t tap(std::int64_t source, std::int64_t target) const {
    return source + padding - target * stride;
  }
  // Targets [begin, end) that see any of the sources [low, high).
  std::int64_t target_begin(std::int64_t low) const {
    return low + padding < kernel ? 0 : (low + padding - kernel) / stride + 1;
  }
  std::int64_t target_end(std::int64_t high) const {
    return std::min(output, (high - 1 + padding) / stride + 1);
  }
  // Of the sources [low, high), those that `target` sees.
  std::int64_t source_begin(std::int64_t low, std::int64_t target) const {
    return std::max(low, target * stride - padding);
  }
  std::int64_t source_end(std::int64_t high, std::int64_t target) const {
    return std::min(high, target * stride - padding + kernel);
  }
  // The target that sees `source` by `tap`, or -1.
  std::int64_t target(std::int64_t source, std::int64_t tap) const {
    const std::int64_t at = source + padding - tap;
    return at >= 0 && at % stride == 0 && at / stride < output ? at / stride : -1;
  }
};

struct StemPlan {
  explicit StemPlan(const PoseStem& stem)
      : maps(stem.maps),
        channels(stem.maps.channels()),
        out_channels(stem.out_channels),
        t(axis(stem, 0)),
        y(axis(stem, 1)),
        x(axis(stem, 2)) {}

  const PoseMaps& maps;
  const std::int64_t channels;
  const std::int64_t out_channels;
  const StemAxis t, y, x;

  std::int64_t taps() const { return t.kernel * y.kernel * x.kernel; }
  std::int64_t frame_elements() const { return y.output * x.output * out_channels; }
  std::int64_t units() const { return maps.batch * t.output; }  // frames of the output

  // Packed weights are [kt, channel, kx, ky, out_channel].
  std::int64_t packed_size() const { return taps() * channels * out_channels; }
  std::int64_t column_elements() const { return y.kernel * out_channels; }
  std::int64_t packed_offset(std::int64_t kt, std::int64_t channel) const {
    return (kt * channels + channel) * x.kernel * column_elements();
  }
  // visit(index in the packed weights, index in [out_channel, channel, kt, ky, kx])
  template <class Visit>
  void for_each_weight(Visit visit) const {
    std::int64_t packed = 0;
    for (std::int64_t kt = 0; kt < t.kernel; ++kt) {
      for (std::int64_t channel = 0; channel < channels; ++channel) {
        for (std::int64_t kx = 0; kx < x.kernel; ++kx) {
          for (std::int64_t ky = 0; ky < y.kernel; ++ky) {
            for (std::int64_t out = 0; out < out_channels; ++out) {
              const std::int64_t row = ((out * channels + channel) * t.kernel + kt) * y.kernel + ky;
              visit(packed++, row * x.kernel + kx);
            }
          }
        }
      }
    }
  }
  LineVector<float> pack(const float* weight) const {
    LineVector<float> packed(static_cast<std::size_t>(packed_size()));
    for_each_weight(
        [&](std::int64_t at, std::int64_t from) { packed[static_cast<std::size_t>(at)] = weight[from]; });
    return packed;
  }

 private:
  static StemAxis axis(const PoseStem& stem, std::size_t index) {
    return {stem.input()[index], stem.output()[index], stem.kernel[index], stem.stride[index],
            stem.padding[index]};
  }
};

}  // namespace fastpose
