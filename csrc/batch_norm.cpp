#include "batch_norm.hpp"

#include <algorithm>
#include <limits>
#include <new>
#include <vector>

#include "aligned_floats.hpp"
#include "norm_scale.hpp"
#include "row_parts.hpp"

namespace fastpose {
namespace {

// For each part: its first row, and the sums of the distances from it and of their squares.
template <class Element>
struct PartMoments {
  const BatchNorm& norm;
  const Parts& parts;
  const Element* input;
  float* moments;  // [part][3][channels]
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
    for (std::int64_t part = begin; part < end; ++part) {
      const Lookahead<Element> next(norm, parts, part, end);
      float* at = moments + part * 3 * channels;
      for (std::int64_t block = 0; block < blocks.count(); ++block) {
        next.fetch(input, block);
        const std::int64_t channel = blocks.begin(block);
        const Element* values = input + parts.begin(part) * channels + channel;
        Lanes shift, sum, squares;
        access.read(values, shift);
        add_up(
            parts.size(part),
            [=](std::int64_t row, Lanes& a, Lanes& b) {
              access.read(values + row * channels, a);
              a -= shift;
              b = a;
            },
            sum, squares);
        access.write(shift, at + channel);
        access.write(sum, at + channels + channel);
        access.write(squares, at + 2 * channels + channel);
      }
    }
  }
};

void merge_moments(const BatchNorm& norm, const Parts& parts, const float* moments, float* mean,
                   float* variance) {
  const auto channels = static_cast<std::size_t>(norm.channels);
  const auto rows = static_cast<double>(norm.rows);
  std::vector<double> center(channels), squares(channels);
  const float* at = moments;
  for (std::int64_t part = 0; part < parts.count(); ++part, at += 3 * channels) {
    const auto size = static_cast<double>(parts.size(part));
    for (std::size_t c = 0; c < channels; ++c) center[c] += (at[c] * size + at[channels + c]) / rows;
  }
  at = moments;
  for (std::int64_t part = 0; part < parts.count(); ++part, at += 3 * channels) {
    const auto size = static_cast<double>(parts.size(part));
    for (std::size_t c = 0; c < channels; ++c) {
      const double shift = center[c] - at[c];  // from the sum of (x - first)² to that of (x - center)²
      squares[c] += at[2 * channels + c] - 2 * shift * at[channels + c] + size * shift * shift;
    }
  }
  for (std::size_t c = 0; c < channels; ++c) {
    mean[c] = static_cast<float>(center[c]);
    variance[c] = static_cast<float>(std::max(squares[c] / rows, 0.0));  // NaN stays
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
    auto* output = static_cast<Element*>(arrays.output);
    const Lanes floor = Lanes{} + (norm.relu ? 0.0f : -std::numeric_limits<float>::infinity());
    for (std::int64_t part = begin; part < end; ++part) {
      const Lookahead<Element> next(norm, parts, part, end);
      for (std::int64_t block = 0; block < blocks.count(); ++block) {
        next.fetch(input, block);
        next.template fetch<true>(output, block);
        if constexpr (kResidual) next.fetch(residual, block);
        const std::int64_t channel = blocks.begin(block);
        std::int64_t at = parts.begin(part) * channels + channel;
        const std::int64_t stop = at + parts.size(part) * channels;
        Lanes factor, addend;
        access.read(scale + channel, factor);
        access.read(shift + channel, addend);
        for (; at < stop; at += channels) {
          Lanes value;
          access.read(input + at, value);
          value = value * factor + addend;
          if constexpr (kResidual) {
            Lanes other;
            access.read(residual + at, other);
            value += other;
          }
          value = value < floor ? floor : value;  // NaN stays
          access.write(value, output + at);
        }
      }
    }
  }
};

template <class Element>
bool find_moments(const BatchNorm& norm, const void* input, float* mean, float* variance) {
  const Parts parts(norm);
  const AlignedFloats moments = allocate_floats(parts.count() * 3 * norm.channels);
  if (moments == nullptr) return false;
  for_parts(norm, parts,
            PartMoments<Element>{norm, parts, static_cast<const Element*>(input), moments.get()});
  merge_moments(norm, parts, moments.get(), mean, variance);
  return true;
}

template <class Element>
bool forward(const BatchNorm& norm, const BatchNormForward& arrays) {
  if (!arrays.given && !find_moments<Element>(norm, arrays.input, arrays.mean, arrays.variance)) return false;
  const NormScale values(norm, arrays.weight, arrays.bias, arrays.mean, arrays.variance);
  const Parts parts(norm);
  for_parts(norm, parts, Normalize<Element>{norm, parts, arrays, values.scale.data(), values.shift.data()});
  return true;
}

}  // namespace

bool batch_norm(const BatchNorm& norm, const BatchNormForward& arrays) noexcept {
  try {
    return norm.element == ElementType::kFloat32 ? forward<float>(norm, arrays)
                                                 : forward<BFloat16>(norm, arrays);
  } catch (const std::bad_alloc&) {
    return false;
  }
}

bool batch_norm_moments(const BatchNorm& norm, const void* input, float* mean, float* variance) noexcept {
  try {
    return norm.element == ElementType::kFloat32 ? find_moments<float>(norm, input, mean, variance)
                                                 : find_moments<BFloat16>(norm, input, mean, variance);
  } catch (const std::bad_alloc&) {
    return false;
  }
}

}  // namespace fastpose
