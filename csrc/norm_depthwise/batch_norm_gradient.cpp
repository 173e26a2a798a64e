#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "base/guarded.hpp"
#include "base/line_vector.hpp"
#include "base/part_totals.hpp"
#include "norm_depthwise/batch_norm.hpp"
#include "norm_depthwise/norm_scale.hpp"
#include "norm_depthwise/part_output.hpp"
#include "norm_depthwise/row_parts.hpp"

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
  Floats scale, shift;

  GradientReader(const Access& block_access, const BatchNormBackward& arrays, const Channels& channels,
                 std::int64_t channel)
      : access(block_access),
        inputs(static_cast<const Element*>(arrays.input)),
        gradients(static_cast<const Element*>(arrays.output_gradient)),
        outputs(static_cast<const Element*>(arrays.output)) {
    access.read(channels.scale.data() + channel, scale);
    access.read(channels.shift.data() + channel, shift);
  }

  void read_row(std::int64_t at, Floats& input, Floats& gradient) const {
    access.read(inputs + at, input);
    access.read(gradients + at, gradient);
    if constexpr (kMask == Mask::kFromInput) {
      const Floats output = input * scale + shift;
      gradient = output <= 0.0f ? Floats{} : gradient;
    } else if constexpr (kMask == Mask::kFromOutput) {
      Floats output;
      access.read(outputs + at, output);
      gradient = output <= 0.0f ? Floats{} : gradient;
    }
  }
};

template <class Element, Mask kMask>
using GradientLookahead = Lookahead<Element, kMask == Mask::kFromOutput ? 3 : 2>;

// For each range: the sums of g and of g·(input - mean).
template <class Element, Mask kMask>
struct RangeGradients {
  const BatchNorm& norm;
  const Parts& parts;
  const BatchNormBackward& arrays;
  const Channels& channels;
  float* sums;  // [range][2][slots], zeros
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
    const std::int64_t slots = blocks.slots();
    float* const totals = sums + parts.range_of(begin) * 2 * slots;
    const void* const read_arrays[] = {arrays.input, arrays.output_gradient, arrays.output};
    for (std::int64_t part = begin; part < end; ++part) {
      GradientLookahead<Element, kMask> next(norm, parts, part, end, read_arrays);
      for (std::int64_t block = 0; block < blocks.count(); ++block) {
        const std::int64_t channel = blocks.begin(block);
        const std::int64_t first = parts.begin(part) * stride + channel;
        const GradientReader<Element, kMask, Access> reader(access, arrays, channels, channel);
        Floats mean, sum, products;
        access.read(channels.mean.data() + channel, mean);
        add_up(
            parts.size(part),
            [=](std::int64_t row, Floats& g, Floats& distance) {
              reader.read_row(first + row * stride, distance, g);
              distance -= mean;
            },
            next, sum, products);
        add_to(totals + block * kLanes, sum);
        add_to(totals + slots + block * kLanes, products);
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
    PartOutput<Element> result(norm, parts, arrays.input_gradient,
                               arrays.input_gradient == arrays.output_gradient);
    PartOutput<Element> residual(norm, parts, arrays.residual_gradient);
    const void* const read_arrays[] = {arrays.input, arrays.output_gradient, arrays.output};
    for (std::int64_t part = begin; part < end; ++part) {
      GradientLookahead<Element, kMask> next(norm, parts, part, end, read_arrays);
      for (std::int64_t block = 0; block < blocks.count(); ++block) {
        const std::int64_t channel = blocks.begin(block);
        const std::int64_t at = parts.begin(part) * stride + channel;
        const GradientReader<Element, kMask, Access> reader(access, arrays, channels, channel);
        Floats mean, slope, offset;
        access.read(channels.mean.data() + channel, mean);
        access.read(channels.slope.data() + channel, slope);
        access.read(channels.offset.data() + channel, offset);
        Element* const to = result.rows() + channel;
        Element* const residual_to = kResidual ? residual.rows() + channel : nullptr;
        each_row(
            parts.size(part),
            [&](std::int64_t row) {
              Floats value, g;
              reader.read_row(at + row * stride, value, g);
              value = g * reader.scale + ((value - mean) * slope + offset);
              access.write(value, to + row * stride);
              if constexpr (kResidual) access.write(g, residual_to + row * stride);
            },
            next);
      }
      result.finish(part);
      if constexpr (kResidual) residual.finish(part);
    }
  }
};

Channels prepare_channels(const BatchNorm& norm, const BatchNormBackward& arrays) {
  const auto count = static_cast<std::size_t>(norm.channels);
  NormScale values(norm, arrays.weight, arrays.bias, arrays.mean, arrays.variance);
  return {std::vector<float>(arrays.mean, arrays.mean + count), std::move(values.scale),
          std::move(values.shift), std::vector<float>(count), std::vector<float>(count)};
}

// Totals are [2, channels], of g and of g·(input - mean).
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
void backward(const BatchNorm& norm, const BatchNormBackward& arrays) {
  const Parts parts(norm);
  const ChannelBlocks blocks{norm.channels};
  LineVector<float> sums(static_cast<std::size_t>(parts.ranges() * 2 * blocks.slots()));
  Channels channels = prepare_channels(norm, arrays);
  for_ranges(norm, parts, RangeGradients<Element, kMask>{norm, parts, arrays, channels, sums.data()});
  const std::vector<double> slot_totals = total_parts(sums.data(), parts.ranges(), 2 * blocks.slots());
  std::vector<double> totals(static_cast<std::size_t>(2 * norm.channels));
  for (std::int64_t channel = 0; channel < norm.channels; ++channel) {
    const std::int64_t slot = blocks.slot(channel);
    totals[static_cast<std::size_t>(channel)] = slot_totals[static_cast<std::size_t>(slot)];
    totals[static_cast<std::size_t>(norm.channels + channel)] =
        slot_totals[static_cast<std::size_t>(blocks.slots() + slot)];
  }
  finish_channels(norm, totals.data(), totals.data(), arrays, channels);
  for_ranges(norm, parts, InputGradient<Element, kMask>{norm, parts, arrays, channels});
}

template <class Element>
void backward(const BatchNorm& norm, const BatchNormBackward& arrays) {
  if (!norm.relu) return backward<Element, Mask::kNone>(norm, arrays);
  return arrays.output == nullptr ? backward<Element, Mask::kFromInput>(norm, arrays)
                                  : backward<Element, Mask::kFromOutput>(norm, arrays);
}

template <class Element>
void finish_backward(const BatchNorm& norm, const double* sums, const double* stored_sums,
                     const BatchNormBackward& arrays) {
  const Parts parts(norm);
  Channels channels = prepare_channels(norm, arrays);
  finish_channels(norm, sums, stored_sums, arrays, channels);
  for_ranges(norm, parts, InputGradient<Element, Mask::kNone>{norm, parts, arrays, channels});
}

}  // namespace

bool batch_norm_backward(const BatchNorm& norm, const BatchNormBackward& arrays) noexcept {
  return guarded([&] {
    norm.element == ElementType::kFloat32 ? backward<float>(norm, arrays) : backward<BFloat16>(norm, arrays);
  });
}

bool batch_norm_finish_backward(const BatchNorm& norm, const double* sums, const double* stored_sums,
                                const BatchNormBackward& arrays) noexcept {
  return guarded([&] {
    norm.element == ElementType::kFloat32 ? finish_backward<float>(norm, sums, stored_sums, arrays)
                                          : finish_backward<BFloat16>(norm, sums, stored_sums, arrays);
  });
}

}  // namespace fastpose
