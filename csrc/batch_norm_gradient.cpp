#include <algorithm>
#include <cmath>
#include <new>
#include <utility>
#include <vector>

#include "aligned_floats.hpp"
#include "batch_norm.hpp"
#include "norm_scale.hpp"
#include "part_totals.hpp"
#include "row_parts.hpp"

namespace fastpose {
namespace {

// What the backward passes need of each channel.
struct Channels {
  std::vector<float> mean, scale, shift;  // output = input·scale + shift
  std::vector<float> slope, offset;       // input gradient = g·scale + (input - mean)·slope + offset
};

enum class Mask { kNone, kFromInput, kFromOutput };

// Reads the input and the gradient past the ReLU of one block of channels.
template <class Element, Mask kMask, class Access>
struct GradientReader {
  Access access;
  const Element* inputs;
  const Element* gradients;
  const Element* outputs;
  Lanes scale, shift;

  GradientReader(const Access& block_access, const BatchNormBackward& arrays, const Channels& channels,
                 std::int64_t channel)
      : access(block_access),
        inputs(static_cast<const Element*>(arrays.input)),
        gradients(static_cast<const Element*>(arrays.output_gradient)),
        outputs(static_cast<const Element*>(arrays.output)) {
    access.read(channels.scale.data() + channel, scale);
    access.read(channels.shift.data() + channel, shift);
  }

  void read_row(std::int64_t at, Lanes& input, Lanes& gradient) const {
    access.read(inputs + at, input);
    access.read(gradients + at, gradient);
    if constexpr (kMask == Mask::kFromInput) {
      const Lanes output = input * scale + shift;
      gradient = output <= 0.0f ? Lanes{} : gradient;
    } else if constexpr (kMask == Mask::kFromOutput) {
      Lanes output;
      access.read(outputs + at, output);
      gradient = output <= 0.0f ? Lanes{} : gradient;
    }
  }
};

// For each part: the sums of g and of g·(input - mean).
template <class Element, Mask kMask>
struct PartGradients {
  const BatchNorm& norm;
  const Parts& parts;
  const BatchNormBackward& arrays;
  const Channels& channels;
  float* sums;  // [part][2][channels]
  std::int64_t begin = 0, end = 0;

  template <class Target>
  void run() {
    with_block_access<Target>(ChannelBlocks{norm.channels},
                              [this](auto access) { this->add_up_parts(access); });
  }

  template <class Access>
  void add_up_parts(const Access access) const {
    const std::int64_t stride = norm.channels;
    const ChannelBlocks blocks{stride};
    for (std::int64_t part = begin; part < end; ++part) {
      const Lookahead<Element> next(norm, parts, part, end);
      float* at = sums + part * 2 * stride;
      for (std::int64_t block = 0; block < blocks.count(); ++block) {
        next.fetch(arrays.input, block);
        next.fetch(arrays.output_gradient, block);
        if constexpr (kMask == Mask::kFromOutput) next.fetch(arrays.output, block);
        const std::int64_t channel = blocks.begin(block);
        const std::int64_t first = parts.begin(part) * stride + channel;
        const GradientReader<Element, kMask, Access> reader(access, arrays, channels, channel);
        Lanes mean, sum, products;
        access.read(channels.mean.data() + channel, mean);
        add_up(
            parts.size(part),
            [=](std::int64_t row, Lanes& g, Lanes& distance) {
              reader.read_row(first + row * stride, distance, g);
              distance -= mean;
            },
            sum, products);
        access.write(sum, at + channel);
        access.write(products, at + stride + channel);
      }
    }
  }
};

template <class Element, Mask kMask>
struct InputGradient {
  const BatchNorm& norm;
  const Parts& parts;
  const BatchNormBackward& arrays;
  const Channels& channels;
  std::int64_t begin = 0, end = 0;

  template <class Target>
  void run() {
    with_block_access<Target>(ChannelBlocks{norm.channels}, [this](auto access) {
      if (kMask == Mask::kFromOutput && arrays.residual_gradient != nullptr) {
        write_gradients<true>(access);
      } else {
        write_gradients<false>(access);
      }
    });
  }

  template <bool kResidual, class Access>
  void write_gradients(const Access access) const {
    const std::int64_t stride = norm.channels;
    const ChannelBlocks blocks{stride};
    auto* result = static_cast<Element*>(arrays.input_gradient);
    auto* residual = static_cast<Element*>(arrays.residual_gradient);
    constexpr LaneBits numbers{0, 1, 2, 3, 4, 5, 6, 7};
    for (std::int64_t part = begin; part < end; ++part) {
      const Lookahead<Element> next(norm, parts, part, end);
      for (std::int64_t block = 0; block < blocks.count(); ++block) {
        next.fetch(arrays.input, block);
        next.fetch(arrays.output_gradient, block);
        next.template fetch<true>(result, block);
        if constexpr (kResidual) next.template fetch<true>(residual, block);
        if constexpr (kMask == Mask::kFromOutput) next.fetch(arrays.output, block);
        const std::int64_t channel = blocks.begin(block);
        std::int64_t at = parts.begin(part) * stride + channel;
        const std::int64_t stop = at + parts.size(part) * stride;
        const GradientReader<Element, kMask, Access> reader(access, arrays, channels, channel);
        Lanes mean, slope, offset;
        access.read(channels.mean.data() + channel, mean);
        access.read(channels.slope.data() + channel, slope);
        access.read(channels.offset.data() + channel, offset);
        const auto done = static_cast<std::uint32_t>(
            arrays.input_gradient == arrays.output_gradient ? block * kLanes - channel : 0);
        for (; at < stop; at += stride) {
          Lanes value, g;
          reader.read_row(at, value, g);
          value = g * reader.scale + ((value - mean) * slope + offset);
          value = numbers < done ? g : value;  // in place, which the block before has written
          access.write(value, result + at);
          if constexpr (kResidual) access.write(g, residual + at);
        }
      }
    }
  }
};

Channels prepare_channels(const BatchNorm& norm, const BatchNormBackward& arrays) {
  const auto count = static_cast<std::size_t>(norm.channels);
  NormScale values(norm, arrays.weight, arrays.bias, arrays.mean, arrays.variance);
  return {std::vector<float>(arrays.mean, arrays.mean + count), std::move(values.scale),
          std::move(values.shift), std::vector<float>(count), std::vector<float>(count)};
}

// Both are of g, then of g·(input - mean).
void finish_channels(const BatchNorm& norm, const double* totals, const double* stored_totals,
                     const BatchNormBackward& arrays, Channels& channels) {
  const auto count = static_cast<std::size_t>(norm.channels);
  const auto rows = static_cast<double>(norm.rows);
  for (std::size_t c = 0; c < count; ++c) {
    const double inverse_variance = 1.0 / (static_cast<double>(arrays.variance[c]) + norm.eps);
    arrays.bias_gradient[c] = static_cast<float>(totals[c]);
    arrays.weight_gradient[c] = static_cast<float>(totals[count + c] * std::sqrt(inverse_variance));
    channels.slope[c] =
        static_cast<float>(-channels.scale[c] * inverse_variance * stored_totals[count + c] / rows);
    channels.offset[c] = static_cast<float>(-channels.scale[c] * stored_totals[c] / rows);
  }
}

template <class Element, Mask kMask>
bool backward(const BatchNorm& norm, const BatchNormBackward& arrays) {
  const Parts parts(norm);
  const AlignedFloats sums = allocate_floats(parts.count() * 2 * norm.channels);
  if (sums == nullptr) return false;
  Channels channels = prepare_channels(norm, arrays);
  for_parts(norm, parts, PartGradients<Element, kMask>{norm, parts, arrays, channels, sums.get()});
  const std::vector<double> totals = total_parts(sums.get(), parts.count(), 2 * norm.channels);
  finish_channels(norm, totals.data(), totals.data(), arrays, channels);
  for_parts(norm, parts, InputGradient<Element, kMask>{norm, parts, arrays, channels});
  return true;
}

template <class Element>
bool backward(const BatchNorm& norm, const BatchNormBackward& arrays) {
  if (!norm.relu) return backward<Element, Mask::kNone>(norm, arrays);
  return arrays.output == nullptr ? backward<Element, Mask::kFromInput>(norm, arrays)
                                  : backward<Element, Mask::kFromOutput>(norm, arrays);
}

template <class Element>
bool finish_backward(const BatchNorm& norm, const double* sums, const double* stored_sums,
                     const BatchNormBackward& arrays) {
  const Parts parts(norm);
  Channels channels = prepare_channels(norm, arrays);
  finish_channels(norm, sums, stored_sums, arrays, channels);
  for_parts(norm, parts, InputGradient<Element, Mask::kNone>{norm, parts, arrays, channels});
  return true;
}

}  // namespace

bool batch_norm_backward(const BatchNorm& norm, const BatchNormBackward& arrays) noexcept {
  try {
    return norm.element == ElementType::kFloat32 ? backward<float>(norm, arrays)
                                                 : backward<BFloat16>(norm, arrays);
  } catch (const std::bad_alloc&) {
    return false;
  }
}

bool batch_norm_finish_backward(const BatchNorm& norm, const double* sums, const double* stored_sums,
                                const BatchNormBackward& arrays) noexcept {
  try {
    return norm.element == ElementType::kFloat32 ? finish_backward<float>(norm, sums, stored_sums, arrays)
                                                 : finish_backward<BFloat16>(norm, sums, stored_sums, arrays);
  } catch (const std::bad_alloc&) {
    return false;
  }
}

}  // namespace fastpose
