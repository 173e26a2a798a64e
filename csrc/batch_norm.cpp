#include "batch_norm.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <vector>

#include "aligned_floats.hpp"
#include "best_target.hpp"
#include "lanes.hpp"
#include "thread_pool.hpp"

namespace fastpose {
namespace {

constexpr std::int64_t kPartElements = 4 << 10;  // of each array; stays in a first-level cache
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
  parallel_for_beside_openmp(parts.count(), norm.threads, grain, [&](std::int64_t begin, std::int64_t end) {
    Body range = body;
    range.begin = begin;
    range.end = end;
    run_on_best_target(range);
  });
}

// While a part is worked on block by block, which touches memory in leaps, brings its successor in line by
// line.
template <class Element>
class Lookahead {
 public:
  Lookahead(const BatchNorm& norm, const Parts& parts, std::int64_t part, std::int64_t end)
      : begin_(parts.begin(part + 1) * norm.channels),
        share_(part + 1 < end ? parts.size(part + 1) * norm.channels / ChannelBlocks{norm.channels}.count()
                              : 0) {}

  // The block's share of the array.
  void fetch(const void* array, std::int64_t block) const {
    const Element* values = static_cast<const Element*>(array) + begin_ + block * share_;
    for (std::int64_t i = 0; i < share_; i += kLine) __builtin_prefetch(values + i);
  }

 private:
  static constexpr std::int64_t kLine = 64 / static_cast<std::int64_t>(sizeof(Element));
  std::int64_t begin_;
  std::int64_t share_;
};

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

  template <class Target>
  void run() {
    const ChannelBlocks blocks{norm.channels};
    for (std::int64_t part = begin; part < end; ++part) {
      const Lookahead<Element> next(norm, parts, part, end);
      float* at = moments + part * 3 * norm.channels;
      for (std::int64_t block = 0; block < blocks.count(); ++block) {
        next.fetch(input, block);
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
        blocks.template write_block<Target>(shift, at + channel);
        blocks.template write_block<Target>(sum, at + norm.channels + channel);
        blocks.template write_block<Target>(squares, at + 2 * norm.channels + channel);
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

  template <class Target>
  void run() {
    if (arrays.residual != nullptr) {
      normalize<Target, true>();
    } else {
      normalize<Target, false>();
    }
  }

  template <class Target, bool kResidual>
  void normalize() {
    const ChannelBlocks blocks{norm.channels};
    const auto* input = static_cast<const Element*>(arrays.input);
    const auto* residual = static_cast<const Element*>(arrays.residual);
    auto* output = static_cast<Element*>(arrays.output);
    const float floor = norm.relu ? 0.0f : -std::numeric_limits<float>::infinity();
    for (std::int64_t part = begin; part < end; ++part) {
      const Lookahead<Element> next(norm, parts, part, end);
      for (std::int64_t block = 0; block < blocks.count(); ++block) {
        next.fetch(input, block);
        if constexpr (kResidual) next.fetch(residual, block);
        const std::int64_t channel = blocks.begin(block);
        std::int64_t at = parts.begin(part) * norm.channels + channel;
        Lanes factor, addend;
        blocks.read_block(scale + channel, factor);
        blocks.read_block(shift + channel, addend);
        for (std::int64_t row = 0; row < parts.size(part); ++row, at += norm.channels) {
          Lanes value;
          blocks.read_block(input + at, value);
          value = value * factor + addend;
          if constexpr (kResidual) {
            Lanes other;
            blocks.read_block(residual + at, other);
            value += other;
          }
          value = value < floor ? Lanes{} + floor : value;  // NaN stays
          blocks.template write_block<Target>(value, output + at);
        }
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

enum class Mask { kNone, kFromInput, kFromOutput };

// Reads the input and the gradient past the ReLU of one block of channels.
template <class Element, Mask kMask>
struct GradientReader {
  const ChannelBlocks& blocks;
  const BatchNormBackward& arrays;
  Lanes scale, shift;

  GradientReader(const ChannelBlocks& channel_blocks, const BatchNormBackward& norm_arrays,
                 const Channels& channels, std::int64_t channel)
      : blocks(channel_blocks), arrays(norm_arrays) {
    blocks.read_block(channels.scale.data() + channel, scale);
    blocks.read_block(channels.shift.data() + channel, shift);
  }

  void read_row(std::int64_t at, Lanes& input, Lanes& gradient) const {
    blocks.read_block(static_cast<const Element*>(arrays.input) + at, input);
    blocks.read_block(static_cast<const Element*>(arrays.output_gradient) + at, gradient);
    if constexpr (kMask == Mask::kFromInput) {
      const Lanes output = input * scale + shift;
      gradient = output <= 0.0f ? Lanes{} : gradient;
    } else if constexpr (kMask == Mask::kFromOutput) {
      Lanes output;
      blocks.read_block(static_cast<const Element*>(arrays.output) + at, output);
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
    const ChannelBlocks blocks{norm.channels};
    for (std::int64_t part = begin; part < end; ++part) {
      const Lookahead<Element> next(norm, parts, part, end);
      float* at = sums + part * 2 * norm.channels;
      for (std::int64_t block = 0; block < blocks.count(); ++block) {
        next.fetch(arrays.input, block);
        next.fetch(arrays.output_gradient, block);
        if constexpr (kMask == Mask::kFromOutput) next.fetch(arrays.output, block);
        const std::int64_t channel = blocks.begin(block);
        const std::int64_t first = parts.begin(part) * norm.channels + channel;
        const GradientReader<Element, kMask> reader(blocks, arrays, channels, channel);
        Lanes mean, sum, products;
        blocks.read_block(channels.mean.data() + channel, mean);
        add_up(
            parts.size(part),
            [&](std::int64_t row, Lanes& g, Lanes& distance) {
              reader.read_row(first + row * norm.channels, distance, g);
              distance -= mean;
            },
            sum, products);
        blocks.template write_block<Target>(sum, at + channel);
        blocks.template write_block<Target>(products, at + norm.channels + channel);
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
    const ChannelBlocks blocks{norm.channels};
    auto* result = static_cast<Element*>(arrays.input_gradient);
    auto* residual = static_cast<Element*>(arrays.residual_gradient);
    for (std::int64_t part = begin; part < end; ++part) {
      const Lookahead<Element> next(norm, parts, part, end);
      for (std::int64_t block = 0; block < blocks.count(); ++block) {
        next.fetch(arrays.input, block);
        next.fetch(arrays.output_gradient, block);
        if constexpr (kMask == Mask::kFromOutput) next.fetch(arrays.output, block);
        const std::int64_t channel = blocks.begin(block);
        std::int64_t at = parts.begin(part) * norm.channels + channel;
        const GradientReader<Element, kMask> reader(blocks, arrays, channels, channel);
        Lanes mean, slope, offset;
        blocks.read_block(channels.mean.data() + channel, mean);
        blocks.read_block(channels.slope.data() + channel, slope);
        blocks.read_block(channels.offset.data() + channel, offset);
        for (std::int64_t row = 0; row < parts.size(part); ++row, at += norm.channels) {
          Lanes value, g;
          reader.read_row(at, value, g);
          value = g * reader.scale + ((value - mean) * slope + offset);
          blocks.template write_block<Target>(value, result + at);
          if constexpr (kMask == Mask::kFromOutput) {
            if (residual != nullptr) blocks.template write_block<Target>(g, residual + at);
          }
        }
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

template <class Element, Mask kMask>
bool backward(const BatchNorm& norm, const BatchNormBackward& arrays) {
  const Parts parts(norm);
  const AlignedFloats sums = allocate_floats(parts.count() * 2 * norm.channels);
  if (sums == nullptr) return false;
  Channels channels = prepare_channels(norm, arrays);
  for_parts(norm, parts, PartGradients<Element, kMask>{norm, parts, arrays, channels, sums.get()});
  merge_gradients(norm, parts, sums.get(), arrays, channels);
  for_parts(norm, parts, InputGradient<Element, kMask>{norm, parts, arrays, channels});
  return true;
}

template <class Element>
bool backward(const BatchNorm& norm, const BatchNormBackward& arrays) {
  if (!norm.relu) return backward<Element, Mask::kNone>(norm, arrays);
  return arrays.output == nullptr ? backward<Element, Mask::kFromInput>(norm, arrays)
                                  : backward<Element, Mask::kFromOutput>(norm, arrays);
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
