#include "norm_depthwise/batch_norm.hpp"

#include <algorithm>
#include <limits>
#include <vector>

#include "base/guarded.hpp"
#include "base/line_vector.hpp"
#include "norm_depthwise/norm_scale.hpp"
#include "norm_depthwise/part_output.hpp"
#include "norm_depthwise/row_parts.hpp"

namespace fastpose {
namespace {

// For each range: its first row, and the sums of the distances from it and of their squares.
template <class Element>
struct RangeMoments {
  const BatchNorm& norm;
  const Parts& parts;
  const Element* input;
  float* moments;  // [range][3][slots], zeros
  std::int64_t begin = 0, end = 0;

  template <class Target>
  void run() {
    with_block_access<Target>(ChannelBlocks{norm.channels},
                              [this](auto access) { this->add_up_parts(access); });
  }

  template <class Access>
  void add_up_parts(const Access access) const {
    const std::int64_t channels = norm.channels;
    const ChannelBlocks blocks{channels};
    const std::int64_t slots = blocks.slots();
    float* const shifts = moments + parts.range_of(begin) * 3 * slots;
    for (std::int64_t block = 0; block < blocks.count(); ++block) {
      Floats first;
      access.read(input + parts.begin(begin) * channels + blocks.begin(block), first);
      store(first, shifts + block * kLanes);
    }
    for (std::int64_t part = begin; part < end; ++part) {
      const void* const read_arrays[] = {input};
      Lookahead<Element, 1> next(norm, parts, part, end, read_arrays);
      for (std::int64_t block = 0; block < blocks.count(); ++block) {
        const Element* values = input + parts.begin(part) * channels + blocks.begin(block);
        float* const at = shifts + block * kLanes;
        Floats shift, sum, squares;
        read(at, shift);
        add_up(
            parts.size(part),
            [=](std::int64_t row, Floats& a, Floats& b) {
              access.read(values + row * channels, a);
              a -= shift;
              b = a;
            },
            next, sum, squares);
        add_to(at + slots, sum);
        add_to(at + 2 * slots, squares);
      }
    }
  }
};

void merge_moments(const BatchNorm& norm, const Parts& parts, const float* moments, float* mean,
                   float* variance) {
  const ChannelBlocks blocks{norm.channels};
  const auto slots = static_cast<std::size_t>(blocks.slots());
  const auto rows = static_cast<double>(norm.rows);
  std::vector<double> center(slots), squares(slots);
  const float* at = moments;
  for (std::int64_t range = 0; range < parts.ranges(); ++range, at += 3 * slots) {
    const auto size = static_cast<double>(parts.range_rows(range));
    for (std::size_t c = 0; c < slots; ++c) center[c] += (at[c] * size + at[slots + c]) / rows;
  }
  at = moments;
  for (std::int64_t range = 0; range < parts.ranges(); ++range, at += 3 * slots) {
    const auto size = static_cast<double>(parts.range_rows(range));
    for (std::size_t c = 0; c < slots; ++c) {
      const double shift = center[c] - at[c];  // from the sum of (x - first)² to that of (x - center)²
      squares[c] += at[2 * slots + c] - 2 * shift * at[slots + c] + size * shift * shift;
    }
  }
  for (std::int64_t channel = 0; channel < norm.channels; ++channel) {
    const auto slot = static_cast<std::size_t>(blocks.slot(channel));
    mean[channel] = static_cast<float>(center[slot]);
    variance[channel] = static_cast<float>(std::max(squares[slot] / rows, 0.0));  // NaN stays
  }
}

template <class Element>
struct Normalize {
  const BatchNorm& norm;
  const Parts& parts;
  const BatchNormForward& arrays;
  const float* scale;
  const float* shift;
  std::int64_t begin = 0, end = 0;

  template <class Target>
  void run() {
    with_block_access<Target>(ChannelBlocks{norm.channels}, [this](auto access) {
      if (arrays.residual != nullptr) {
        normalize<true>(access);
      } else {
        normalize<false>(access);
      }
    });
  }

  template <bool kResidual, class Access>
  void normalize(const Access access) const {
    const std::int64_t channels = norm.channels;
    const ChannelBlocks blocks{channels};
    const auto* input = static_cast<const Element*>(arrays.input);
    const auto* residual = static_cast<const Element*>(arrays.residual);
    PartOutput<Element> output(norm, parts, arrays.output);
    const Floats floor = Floats{} + (norm.relu ? 0.0f : -std::numeric_limits<float>::infinity());
    for (std::int64_t part = begin; part < end; ++part) {
      const void* const read_arrays[] = {input, residual};
      Lookahead<Element, kResidual ? 2 : 1> next(norm, parts, part, end, read_arrays);
      for (std::int64_t block = 0; block < blocks.count(); ++block) {
        const std::int64_t channel = blocks.begin(block);
        const std::int64_t at = parts.begin(part) * channels + channel;
        Element* target = output.rows() + channel;
        Floats factor, addend;
        access.read(scale + channel, factor);
        access.read(shift + channel, addend);
        each_row(
            parts.size(part),
            [&](std::int64_t row) {
              Floats value;
              access.read(input + at + row * channels, value);
              value = value * factor + addend;
              if constexpr (kResidual) {
                Floats other;
                access.read(residual + at + row * channels, other);
                value += other;
              }
              value = value < floor ? floor : value;  // NaN stays
              access.write(value, target + row * channels);
            },
            next);
      }
      output.finish(part);
    }
  }
};

template <class Element>
void find_moments(const BatchNorm& norm, const void* input, float* mean, float* variance) {
  const Parts parts(norm);
  const std::int64_t slots = ChannelBlocks{norm.channels}.slots();
  LineVector<float> moments(static_cast<std::size_t>(parts.ranges() * 3 * slots));
  for_ranges(norm, parts,
             RangeMoments<Element>{norm, parts, static_cast<const Element*>(input), moments.data()});
  merge_moments(norm, parts, moments.data(), mean, variance);
}

template <class Element>
void forward(const BatchNorm& norm, const BatchNormForward& arrays) {
  if (!arrays.given) find_moments<Element>(norm, arrays.input, arrays.mean, arrays.variance);
  const NormScale values(norm, arrays.weight, arrays.bias, arrays.mean, arrays.variance);
  const Parts parts(norm);
  for_ranges(norm, parts, Normalize<Element>{norm, parts, arrays, values.scale.data(), values.shift.data()});
}

}  // namespace

bool batch_norm(const BatchNorm& norm, const BatchNormForward& arrays) noexcept {
  return guarded([&] {
    norm.element == ElementType::kFloat32 ? forward<float>(norm, arrays) : forward<BFloat16>(norm, arrays);
  });
}

bool batch_norm_moments(const BatchNorm& norm, const void* input, float* mean, float* variance) noexcept {
  return guarded([&] {
    norm.element == ElementType::kFloat32 ? find_moments<float>(norm, input, mean, variance)
                                          : find_moments<BFloat16>(norm, input, mean, variance);
  });
}

}  // namespace fastpose
