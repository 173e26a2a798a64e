#include "int8_conv/int8_conv.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <vector>

#include "base/floats.hpp"
#include "base/guarded.hpp"
#include "base/instructions.hpp"
#include "base/line_vector.hpp"
#include "base/thread_pool.hpp"
#include "int8_conv/byte_product.hpp"
#include "row_conv/channel_vectors.hpp"
#include "row_conv/row_blocks.hpp"

namespace fastpose {
namespace {

struct Problem {
  const RowConv& conv;
  const Int8Conv& arrays;
  Volume output;
  RowBlocks blocks;
  MultiplyByteTile multiply;
};

constexpr std::int64_t kOutside = -1;

std::int64_t padded_depth(std::int64_t channels) {
  return (channels + 3) / 4 * 4;
}

// The window of a block as bytes, and where in it the rows of each output are.
struct ByteWindow {
  LineVector<std::uint8_t> values;
  std::vector<float> steps, lows;
  bool has_lows = false;
  std::vector<std::int64_t> sources;  // the input's rows, or kOutside
  std::vector<std::int64_t> at, to, distances;
};

// Of several numbers the least and the greatest, and the greatest of their bits without the signs: NaN and
// infinity have greater ones than all others.
struct Extremes {
  Floats lows, highs;
  Ints bits;

  explicit Extremes(const Floats& lanes)
      : lows(lanes), highs(lanes), bits(reinterpret_cast<const Ints&>(lanes) & 0x7FFFFFFF) {}

  void take(const Extremes& other) {
    lows = other.lows < lows ? other.lows : lows;
    highs = other.highs > highs ? other.highs : highs;
    bits = other.bits > bits ? other.bits : bits;
  }

  template <int... kLane>
  void take_lanes() {
    Extremes other = *this;
    pick<kLane...>(lows, lows, other.lows);
    pick<kLane...>(highs, highs, other.highs);
    pick<kLane...>(bits, bits, other.bits);
    take(other);
  }
};

struct Range {
  float low, high;  // zero between them
  bool finite;
};

Range range_of(const float* values, std::int64_t channels) {
  Extremes first(Floats{}), second(Floats{});  // of two, so that each need not wait for the other
  const auto next = [&](std::int64_t c, Extremes& extremes) {
    Floats lanes;
    get(values + c, lanes);
    extremes.take(Extremes(lanes));
  };
  std::int64_t c = 0;
  for (; c + 2 * kLanes <= channels; c += 2 * kLanes) {
    next(c, first);
    next(c + kLanes, second);
  }
  if (c + kLanes <= channels) {
    next(c, first);
    c += kLanes;
  }
  if (c < channels) {
    Floats rest{};
    std::memcpy(&rest, values + c, static_cast<std::size_t>(channels - c) * sizeof(float));
    second.take(Extremes(rest));
  }
  first.take(second);
  first.take_lanes<4, 5, 6, 7, 0, 1, 2, 3>();
  first.take_lanes<2, 3, 0, 1, 6, 7, 4, 5>();
  first.take_lanes<1, 0, 3, 2, 5, 4, 7, 6>();
  constexpr std::int32_t kInfinity = 0x7F800000;
  return {first.lows[0], first.highs[0], first.bits[0] < kInfinity};
}

// Bytes of a row: from zero, or from its least value where that is negative, to its greatest.
void quantize_row(const float* values, std::int64_t channels, std::int64_t row_bytes, std::uint8_t* bytes,
                  float& step, float& low) {
  const Range range = range_of(values, channels);
  low = range.low;
  step = range.high / 255 - low / 255;
  const float inverse = 1 / step;
  if (!range.finite || !std::isfinite(inverse)) {  // no numbers, or all of them zero
    step = range.finite ? 0.0f : std::numeric_limits<float>::quiet_NaN();
    std::memset(bytes, 0, static_cast<std::size_t>(row_bytes));
    return;
  }
  const float offset = 0.5f - low * inverse;
  std::int64_t c = 0;
  using Integers [[gnu::vector_size(sizeof(std::int32_t) * kLanes)]] = std::int32_t;
  using Bytes [[gnu::vector_size(kLanes)]] = std::uint8_t;
  for (; c + kLanes <= channels; c += kLanes) {
    Floats lanes;
    get(values + c, lanes);
    const auto whole = __builtin_convertvector(lanes * inverse + offset, Integers);
    const auto narrow = __builtin_convertvector(whole, Bytes);
    std::memcpy(bytes + c, &narrow, sizeof(narrow));
  }
  for (; c < channels; ++c) bytes[c] = static_cast<std::uint8_t>(values[c] * inverse + offset);
  for (; c < row_bytes; ++c) bytes[c] = 0;
}

struct Blocks {
  const Problem& problem;
  std::int64_t begin, end;

  template <class>
  void run() {
    ByteWindow window;
    for (std::int64_t index = begin; index < end; ++index) convolve(problem.blocks.block(index), window);
  }

  void convolve(const RowBlock& block, ByteWindow& window) const {
    const RowConv& conv = problem.conv;
    const InputWindow axes[] = {input_window(conv, 0, block.frames), input_window(conv, 1, block.lines),
                                input_window(conv, 2, {0, problem.output[2]})};
    const Window windows[] = {axes[0].window, axes[1].window, axes[2].window};
    const std::int64_t line = windows[2].size, frame = windows[1].size * line, clip = windows[0].size * frame;
    read(windows, block.clips, block.clips.size() * clip, window);
    window.at.clear();
    for (std::int64_t n = 0; n < block.clips.size(); ++n) {
      for (std::int64_t t = 0; t < block.frames.size(); ++t) {
        for (std::int64_t h = 0; h < block.lines.size(); ++h) {
          const std::int64_t first = n * clip + t * axes[0].step * frame + h * axes[1].step * line;
          for (std::int64_t w = 0; w < problem.output[2]; ++w) window.at.push_back(first + w * axes[2].step);
        }
      }
    }
    window.to.clear();
    each_run(block, problem.output, [&](std::int64_t row, std::int64_t count) {
      for (std::int64_t i = 0; i < count; ++i) window.to.push_back((row + i) * conv.out_channels);
    });
    std::vector<std::int64_t>& distances = window.distances;
    distances.clear();
    for (std::int64_t t = 0; t < conv.kernel[0]; ++t) {
      for (std::int64_t h = 0; h < conv.kernel[1]; ++h) {
        for (std::int64_t w = 0; w < conv.kernel[2]; ++w) distances.push_back(t * frame + h * line + w);
      }
    }
    multiply(window);
  }

  void read(const Window (&windows)[3], const Span& clips, std::int64_t count, ByteWindow& window) const {
    const std::int64_t channels = problem.conv.in_channels, row_bytes = padded_depth(channels);
    const auto rows = static_cast<std::size_t>(count);
    window.sources.resize(rows);
    read_windows(
        problem.conv.input, 1, clips, windows, window.sources.data(), kOutside,
        [](std::int64_t* to, std::int64_t row, std::int64_t number) { std::iota(to, to + number, row); });
    window.values.resize(rows * static_cast<std::size_t>(row_bytes));
    window.steps.resize(rows);
    window.lows.resize(rows);
    window.has_lows = false;
    std::uint8_t* bytes = window.values.data();
    for (std::size_t row = 0; row < rows; ++row, bytes += row_bytes) {
      if (window.sources[row] == kOutside) {
        std::memset(bytes, 0, static_cast<std::size_t>(row_bytes));
        window.steps[row] = window.lows[row] = 0;
        continue;
      }
      quantize_row(problem.arrays.input + window.sources[row] * channels, channels, row_bytes, bytes,
                   window.steps[row], window.lows[row]);
      window.has_lows |= window.lows[row] != 0;
    }
  }

  void multiply(const ByteWindow& window) const {
    const RowConv& conv = problem.conv;
    const std::int64_t row_bytes = padded_depth(conv.in_channels);
    const auto rows = static_cast<std::int64_t>(window.at.size());
    const auto taps = static_cast<std::int64_t>(window.distances.size());
    std::int64_t at[kByteTileRows];
    ByteTile tile{{window.values.data(), row_bytes, window.steps.data(),
                   window.has_lows ? window.lows.data() : nullptr},
                  at,
                  window.distances.data(),
                  taps,
                  problem.arrays.weights,
                  problem.arrays.weight_sums};
    alignas(64) float result[kByteTileRows * kBytePanelColumns];
    for (std::int64_t first = 0; first < conv.out_channels; first += kBytePanelColumns) {
      for (std::int64_t row = 0; row < rows; row += kByteTileRows) {
        for (std::int64_t i = 0; i < kByteTileRows; ++i) {
          at[i] = window.at[static_cast<std::size_t>(std::min(row + i, rows - 1))];
        }
        problem.multiply(tile, result);
        for (std::int64_t i = 0; i < std::min(kByteTileRows, rows - row); ++i) {
          finish(result + i * kBytePanelColumns, first, window.to[static_cast<std::size_t>(row + i)]);
        }
      }
      tile.weights += taps * row_bytes * kBytePanelColumns;
      tile.weight_sums += taps * kBytePanelColumns;
    }
  }

  // Columns from `first` on of the output's row at `to`.
  void finish(const float* sums, std::int64_t first, std::int64_t to) const {
    const RowFinish& finish = problem.arrays.finish;
    const float floor = finish.relu ? 0.0f : -std::numeric_limits<float>::infinity();
    const float* const residual = finish.residual == nullptr ? nullptr : finish.residual + to + first;
    float* const output = problem.arrays.output + to + first;
    each_channel(std::min(kBytePanelColumns, problem.conv.out_channels - first),
                 [&](std::int64_t c, auto lanes) {
                   typename decltype(lanes)::type value, scale, shift;
                   get(sums + c, value);
                   get(finish.scale + first + c, scale);
                   get(finish.shift + first + c, shift);
                   value = value * scale + shift;
                   if (residual != nullptr) {
                     get(residual + c, shift);
                     value += shift;
                   }
                   raise(value, floor);
                   put(value, output + c);
                 });
  }
};

void convolve(const RowConv& conv, const Int8Conv& arrays) {
  const Volume output = conv.output();
  const Problem problem{conv, arrays, output, RowBlocks(conv, output), byte_product()};
  guarded_loop(parallel_for_beside_openmp, problem.blocks.count(), conv.threads, 1,
               [&](std::int64_t begin, std::int64_t end) {
                 Blocks range{problem, begin, end};
                 run_on_best_target(range);
               });
}

}  // namespace

bool int8_conv(const RowConv& conv, const Int8Conv& arrays) noexcept {
  return guarded([&] { convolve(merge_axes(conv), arrays); });
}

}  // namespace fastpose
