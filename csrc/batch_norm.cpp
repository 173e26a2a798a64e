#include "batch_norm.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <vector>

#include "aligned_floats.hpp"
#include "lanes.hpp"
#include "thread_pool.hpp"
#include "widest_target.hpp"

namespace fastpose {
namespace {

constexpr std::int64_t kPartElements = 8 << 10;  // of each array; stays in a first-level cache
constexpr std::int64_t kRangeElements = 128 << 10;

// Rows in parts, whose sums are merged in order: results do not depend on who computed them.
struct Parts {
  std::int64_t rows;
  std::int64_t part_rows;

  explicit Parts(const BatchNorm& norm)
      : rows(norm.rows), part_rows(std::max<std::int64_t>(16, kPartElements / norm.channels)) {}

  std::int64_t count() const { return (rows + part_rows - 1) / part_rows; }
  std::int64_t begin(std::int64_t part) const { return part * part_rows; }
  std::int64_t size(std::int64_t part) const { return std::min(part_rows, rows - begin(part)); }
};

template <class Body>
void for_parts(const BatchNorm& norm, const Parts& parts, const Body& body) {
  const std::int64_t grain = std::max<std::int64_t>(1, kRangeElements / (parts.part_rows * norm.channels));
  parallel_for(parts.count(), norm.threads, grain, [&](std::int64_t begin, std::int64_t end) {
    Body range = body;
    range.begin = begin;
    range.end = end;
    run_on_widest_target(range);
  });
}

inline void keep_positive(Lanes& values) {
  values = values < 0.0f ? Lanes{} : values;  // NaN stays
}

// Sums of two functions of a row over the rows of a part, for one block of channels.
template <class ReadPair>
void add_up(std::int64_t rows, const ReadPair& read_pair, Lanes& first, Lanes& second) {
  constexpr int kChains = 4;
  Lanes firsts[kChains] = {}, seconds[kChains] = {};
  std::int64_t row = 0;
  for (; row + kChains <= rows; row += kChains) {
#pragma GCC unroll 4
    for (int i = 0; i < kChains; ++i) {
      Lanes a, b;
      read_pair(row + i, a, b);
      firsts[i] += a;
      seconds[i] += a * b;
    }
  }
  for (; row < rows; ++row) {
    Lanes a, b;
    read_pair(row, a, b);
    firsts[0] += a;
    seconds[0] += a * b;
  }
  first = (firsts[0] + firsts[1]) + (firsts[2] + firsts[3]);
  second = (seconds[0] + seconds[1]) + (seconds[2] + seconds[3]);
}

// For each part: its first row, and the sums of the distances from it and of their squares.
template <class Element>
struct PartMoments {
  const BatchNorm& norm;
  const Parts& parts;
  const Element* input;
  float* moments;  // [part][3][channels]
  std::int64_t begin = 0, end = 0;

  template <int>
  void run() {
    const ChannelBlocks blocks{norm.channels};
    for (std::int64_t part = begin; part < end; ++part) {
      float* at = moments + part * 3 * norm.channels;
      for (std::int64_t block = 0; block < blocks.count(); ++block) {
        const std::int64_t channel = blocks.begin(block);
        const Element* values = input + parts.begin(part) * norm.channels + channel;
        Lanes shift, sum, squares;
        blocks.read_block(values, shift);
        add_up(
            parts.size(part),
            [&](std::int64_t row, Lanes& a, Lanes& b) {
              blocks.read_block(values + row * norm.channels, a);
              a -= shift;
              b = a;
            },
            sum, squares);
        blocks.write_block(shift, at + channel);
        blocks.write_block(sum, at + norm.channels + channel);
        blocks.write_block(squares, at + 2 * norm.channels + channel);
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
    variance[c] = static_cast<float>(std::max(0.0, squares[c] / rows));
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

  template <int>
  void run() {
    if (arrays.residual != nullptr) {
      normalize([&](std::int64_t at, const ChannelBlocks& blocks, Lanes& value) {
        Lanes addend;
        blocks.read_block(static_cast<const Element*>(arrays.residual) + at, addend);
        value += addend;
      });
    } else {
      normalize([](std::int64_t, const ChannelBlocks&, Lanes&) {});
    }
  }

  template <class AddResidual>
  void normalize(const AddResidual& add_residual) {
    const ChannelBlocks blocks{norm.channels};
    const auto* input = static_cast<const Element*>(arrays.input);
    auto* output = static_cast<Element*>(arrays.output);
    const std::int64_t last = std::min(parts.begin(end), norm.rows);
    for (std::int64_t row = parts.begin(begin); row < last; ++row) {
      for (std::int64_t block = 0; block < blocks.count(); ++block) {
        const std::int64_t channel = blocks.begin(block);
        const std::int64_t at = row * norm.channels + channel;
        Lanes value, factor, addend;
        blocks.read_block(input + at, value);
        blocks.read_block(scale + channel, factor);
        blocks.read_block(shift + channel, addend);
        value = value * factor + addend;
        add_residual(at, blocks, value);
        if (norm.relu) keep_positive(value);
        blocks.write_block(value, output + at);
      }
    }
  }
};

template <class Element>
bool forward(const BatchNorm& norm, const BatchNormForward& arrays) {
  const Parts parts(norm);
  const AlignedFloats moments = allocate_floats(parts.count() * 3 * norm.channels);
  if (moments == nullptr) return false;
  for_parts(norm, parts,
            PartMoments<Element>{norm, parts, static_cast<const Element*>(arrays.input), moments.get()});
  merge_moments(norm, parts, moments.get(), arrays.mean, arrays.variance);
  std::vector<float> scale(static_cast<std::size_t>(norm.channels)), shift(scale.size());
  for (std::size_t c = 0; c < scale.size(); ++c) {
    scale[c] = arrays.weight[c] / std::sqrt(arrays.variance[c] + norm.eps);
    shift[c] = arrays.bias[c] - arrays.mean[c] * scale[c];
  }
  for_parts(norm, parts, Normalize<Element>{norm, parts, arrays, scale.data(), shift.data()});
  return true;
}

// What the backward passes need of each channel.
struct Channels {
  std::vector<float> mean, scale, shift;  // output = input·scale + shift
  std::vector<float> slope, offset;       // input gradient = g·scale + (input - mean)·slope + offset
};

// The gradient past the ReLU.
template <class Element>
struct Gradient {
  const BatchNorm& norm;
  const BatchNormBackward& arrays;
  const Channels& channels;

  void read_block(const ChannelBlocks& blocks, std::int64_t at, std::int64_t channel, const Lanes& input,
                  Lanes& gradient) const {
    blocks.read_block(static_cast<const Element*>(arrays.output_gradient) + at, gradient);
    if (!norm.relu) return;
    Lanes output;
    if (arrays.output != nullptr) {
      blocks.read_block(static_cast<const Element*>(arrays.output) + at, output);
    } else {
      Lanes factor, addend;
      blocks.read_block(channels.scale.data() + channel, factor);
      blocks.read_block(channels.shift.data() + channel, addend);
      output = input * factor + addend;
    }
    gradient = output <= 0.0f ? Lanes{} : gradient;
  }
};

// For each part: the sums of g and of g·(input - mean).
template <class Element>
struct PartGradients {
  const BatchNorm& norm;
  const Parts& parts;
  const Gradient<Element>& gradient;
  float* sums;  // [part][2][channels]
  std::int64_t begin = 0, end = 0;

  template <int>
  void run() {
    const ChannelBlocks blocks{norm.channels};
    const auto* input = static_cast<const Element*>(gradient.arrays.input);
    for (std::int64_t part = begin; part < end; ++part) {
      float* at = sums + part * 2 * norm.channels;
      for (std::int64_t block = 0; block < blocks.count(); ++block) {
        const std::int64_t channel = blocks.begin(block);
        const std::int64_t first = parts.begin(part) * norm.channels + channel;
        Lanes mean, sum, products;
        blocks.read_block(gradient.channels.mean.data() + channel, mean);
        add_up(
            parts.size(part),
            [&](std::int64_t row, Lanes& g, Lanes& distance) {
              blocks.read_block(input + first + row * norm.channels, distance);
              gradient.read_block(blocks, first + row * norm.channels, channel, distance, g);
              distance -= mean;
            },
            sum, products);
        blocks.write_block(sum, at + channel);
        blocks.write_block(products, at + norm.channels + channel);
      }
    }
  }
};

template <class Element>
struct InputGradient {
  const BatchNorm& norm;
  const Parts& parts;
  const Gradient<Element>& gradient;
  std::int64_t begin = 0, end = 0;

  template <int>
  void run() {
    const ChannelBlocks blocks{norm.channels};
    const BatchNormBackward& arrays = gradient.arrays;
    const Channels& channels = gradient.channels;
    const auto* input = static_cast<const Element*>(arrays.input);
    auto* result = static_cast<Element*>(arrays.input_gradient);
    auto* residual = static_cast<Element*>(arrays.residual_gradient);
    const std::int64_t last = std::min(parts.begin(end), norm.rows);
    for (std::int64_t row = parts.begin(begin); row < last; ++row) {
      for (std::int64_t block = 0; block < blocks.count(); ++block) {
        const std::int64_t channel = blocks.begin(block);
        const std::int64_t at = row * norm.channels + channel;
        Lanes value, g, mean, scale, slope, offset;
        blocks.read_block(input + at, value);
        gradient.read_block(blocks, at, channel, value, g);
        blocks.read_block(channels.mean.data() + channel, mean);
        blocks.read_block(channels.scale.data() + channel, scale);
        blocks.read_block(channels.slope.data() + channel, slope);
        blocks.read_block(channels.offset.data() + channel, offset);
        value = g * scale + ((value - mean) * slope + offset);
        blocks.write_block(value, result + at);
        if (residual != nullptr) blocks.write_block(g, residual + at);
      }
    }
  }
};

Channels prepare_channels(const BatchNorm& norm, const BatchNormBackward& arrays) {
  const auto count = static_cast<std::size_t>(norm.channels);
  Channels channels{std::vector<float>(arrays.mean, arrays.mean + count), std::vector<float>(count),
                    std::vector<float>(count), std::vector<float>(count), std::vector<float>(count)};
  for (std::size_t c = 0; c < count; ++c) {
    channels.scale[c] = arrays.weight[c] / std::sqrt(arrays.variance[c] + norm.eps);
    channels.shift[c] = arrays.bias[c] - arrays.mean[c] * channels.scale[c];
  }
  return channels;
}

void merge_gradients(const BatchNorm& norm, const Parts& parts, const float* sums,
                     const BatchNormBackward& arrays, Channels& channels) {
  const auto count = static_cast<std::size_t>(norm.channels);
  const auto rows = static_cast<double>(norm.rows);
  std::vector<double> totals(2 * count);  // of g, of g·(input - mean)
  for (std::int64_t part = 0; part < parts.count(); ++part, sums += totals.size()) {
    for (std::size_t i = 0; i < totals.size(); ++i) totals[i] += sums[i];
  }
  for (std::size_t c = 0; c < count; ++c) {
    const double inverse_variance = 1.0 / (static_cast<double>(arrays.variance[c]) + norm.eps);
    arrays.bias_gradient[c] = static_cast<float>(totals[c]);
    arrays.weight_gradient[c] = static_cast<float>(totals[count + c] * std::sqrt(inverse_variance));
    channels.slope[c] = static_cast<float>(-channels.scale[c] * inverse_variance * totals[count + c] / rows);
    channels.offset[c] = static_cast<float>(-channels.scale[c] * totals[c] / rows);
  }
}

template <class Element>
bool backward(const BatchNorm& norm, const BatchNormBackward& arrays) {
  const Parts parts(norm);
  const AlignedFloats sums = allocate_floats(parts.count() * 2 * norm.channels);
  if (sums == nullptr) return false;
  Channels channels = prepare_channels(norm, arrays);
  const Gradient<Element> gradient{norm, arrays, channels};
  for_parts(norm, parts, PartGradients<Element>{norm, parts, gradient, sums.get()});
  merge_gradients(norm, parts, sums.get(), arrays, channels);
  for_parts(norm, parts, InputGradient<Element>{norm, parts, gradient});
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

bool batch_norm_backward(const BatchNorm& norm, const BatchNormBackward& arrays) noexcept {
  try {
    return norm.element == ElementType::kFloat32 ? backward<float>(norm, arrays)
                                                 : backward<BFloat16>(norm, arrays);
  } catch (const std::bad_alloc&) {
    return false;
  }
}

}  // namespace fastpose
