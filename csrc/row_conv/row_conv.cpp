#include "row_conv/row_conv.hpp"

#include <algorithm>
#include <limits>
#include <vector>

#include "base/guarded.hpp"
#include "base/thread_pool.hpp"
#include "row_conv/row_blocks.hpp"
#include "row_conv/row_product.hpp"
#include "row_conv/row_source.hpp"

namespace fastpose {
namespace {

struct Problem {
  const RowConv& conv;
  const RowConvForward& arrays;
  ChannelScale norm;
  Volume output;
  RowBlocks blocks;
  float* moments;  // [block][3][C'], zeros; null where no statistics are wanted
};

// The first row, and the sums of the distances from it and of their squares.
void add_up_moments(const Problem& problem, const RowBlock& block, float* moments) {
  const std::int64_t channels = problem.conv.out_channels;
  float* const shift = moments;
  float* const sums = moments + channels;
  float* const squares = sums + channels;
  bool first = true;
  each_run(block, problem.output, [&](std::int64_t row, std::int64_t count) {
    const float* values = problem.arrays.output + row * channels;
    if (first) std::copy_n(values, channels, shift);
    first = false;
    while (count > 0) {
      const std::int64_t rows = std::min<std::int64_t>(count, kRowsAtOnce);
      each_channel(channels, [&](std::int64_t c, auto lanes) {
        typename decltype(lanes)::type distance, origin, sum, square;
        get(shift + c, origin);
        get(sums + c, sum);
        get(squares + c, square);
        for (std::int64_t i = 0; i < rows; ++i) {
          get(values + i * channels + c, distance);
          distance -= origin;
          sum += distance;
          square += distance * distance;
        }
        put(sum, sums + c);
        put(square, squares + c);
      });
      values += rows * channels;
      count -= rows;
    }
  });
}

void finish_rows(const RowConvForward& arrays, std::int64_t first, std::int64_t count,
                 std::int64_t channels) {
  const RowFinish& finish = arrays.finish;
  const float floor = finish.relu ? 0.0f : -std::numeric_limits<float>::infinity();
  float* values = arrays.output + first * channels;
  const float* residual = finish.residual == nullptr ? nullptr : finish.residual + first * channels;
  for (; count > 0; --count, values += channels) {
    each_channel(channels, [&](std::int64_t c, auto lanes) {
      typename decltype(lanes)::type value, scale, shift;
      get(values + c, value);
      get(finish.scale + c, scale);
      get(finish.shift + c, shift);
      value = value * scale + shift;
      if (residual != nullptr) {
        get(residual + c, shift);
        value += shift;
      }
      raise(value, floor);
      put(value, values + c);
    });
    if (residual != nullptr) residual += channels;
  }
}

template <class Matrices>
struct Blocks {
  const Problem& problem;
  const Matrices& matrices;
  std::int64_t begin, end;

  template <class Target>
  void run() {
    LineVector<float> window;
    std::vector<std::int64_t> from, to;
    for (std::int64_t index = begin; index < end; ++index) convolve<Target>(index, window, from, to);
  }

  template <class Target>
  void convolve(std::int64_t index, LineVector<float>& buffer, std::vector<std::int64_t>& from,
                std::vector<std::int64_t>& to) const {
    const RowConv& conv = problem.conv;
    const RowConvForward& arrays = problem.arrays;
    const RowBlock block = problem.blocks.block(index);
    const InputWindow axes[] = {input_window(conv, 0, block.frames), input_window(conv, 1, block.lines),
                                input_window(conv, 2, {0, problem.output[2]})};
    const Window windows[] = {axes[0].window, axes[1].window, axes[2].window};
    const std::int64_t line = windows[2].size * conv.in_channels, frame = windows[1].size * line;
    const std::int64_t clip = windows[0].size * frame;
    from.clear();
    to.clear();
    each_run(block, problem.output, [&](std::int64_t row, std::int64_t count) {
      for (std::int64_t i = 0; i < count; ++i) to.push_back((row + i) * conv.out_channels);
    });
    for (std::int64_t n = 0; n < block.clips.size(); ++n) {
      for (std::int64_t t = 0; t < block.frames.size(); ++t) {
        for (std::int64_t h = 0; h < block.lines.size(); ++h) {
          const std::int64_t at = n * clip + t * axes[0].step * frame + h * axes[1].step * line;
          for (std::int64_t w = 0; w < problem.output[2]; ++w) {
            from.push_back(at + w * axes[2].step * conv.in_channels);
          }
        }
      }
    }
    buffer.resize(static_cast<std::size_t>(block.clips.size() * clip));
    const ScaledRows rows{arrays.input, problem.norm, arrays.norm.relu, conv.in_channels};
    read_windows(conv.input, conv.in_channels, block.clips, windows, buffer.data(), 0.0f,
                 [&](float* target, std::int64_t row, std::int64_t count) { rows.read(target, row, count); });
    Taps taps;
    for (std::int64_t tap = 0, t = 0; t < conv.kernel[0]; ++t) {
      for (std::int64_t h = 0; h < conv.kernel[1]; ++h) {
        for (std::int64_t w = 0; w < conv.kernel[2]; ++w, ++tap) {
          taps.distances.push_back(t * frame + h * line + w * conv.in_channels);
          taps.matrices.push_back(tap);
        }
      }
    }
    multiply_rows<Target>(buffer.data(), from, taps, matrices, arrays.output, to);
    if (problem.moments != nullptr) {
      add_up_moments(problem, block, problem.moments + index * 3 * conv.out_channels);
    }
    if (arrays.finish.scale != nullptr) {
      each_run(block, problem.output, [&](std::int64_t row, std::int64_t count) {
        finish_rows(arrays, row, count, conv.out_channels);
      });
    }
  }
};

void merge_moments(const Problem& problem) {
  const std::int64_t channels = problem.conv.out_channels;
  const auto count = static_cast<std::size_t>(channels);
  const Volume& size = problem.output;
  const auto rows = static_cast<double>(problem.conv.batch * size[0] * size[1] * size[2]);
  std::vector<double> center(count), squares(count);
  const auto each_block = [&](const auto& body) {
    const float* at = problem.moments;
    for (std::int64_t index = 0; index < problem.blocks.count(); ++index, at += 3 * channels) {
      const RowBlock block = problem.blocks.block(index);
      const auto here =
          static_cast<double>(block.clips.size() * block.frames.size() * block.lines.size() * size[2]);
      for (std::size_t c = 0; c < count; ++c) body(c, here, at[c], at[count + c], at[2 * count + c]);
    }
  };
  each_block([&](std::size_t c, double here, double shift, double sum, double) {
    center[c] += (shift * here + sum) / rows;
  });
  each_block([&](std::size_t c, double here, double shift, double sum, double square) {
    const double distance = center[c] - shift;  // from the sum of (y - shift)² to that of (y - center)²
    squares[c] += square - 2 * distance * sum + here * distance * distance;
  });
  for (std::size_t c = 0; c < count; ++c) {
    problem.arrays.mean[c] = static_cast<float>(center[c]);
    problem.arrays.variance[c] = static_cast<float>(std::max(squares[c] / rows, 0.0));  // NaN stays
  }
}

void convolve(const RowConv& conv, const RowConvForward& arrays) {
  const Volume output = conv.output();
  const RowBlocks blocks(conv, output);
  LineVector<float> moments(
      arrays.mean == nullptr ? 0 : static_cast<std::size_t>(blocks.count() * 3 * conv.out_channels));
  const Problem problem{conv,   arrays, ChannelScale(arrays.norm, conv.in_channels),
                        output, blocks, arrays.mean == nullptr ? nullptr : moments.data()};
  with_product_target([&](auto target) {
    using Target = decltype(target);
    const std::int64_t taps = conv.kernel[0] * conv.kernel[1] * conv.kernel[2];
    const PanelMatrices<Target> matrices(taps, conv.in_channels, conv.out_channels,
                                         [&](std::int64_t tap, std::int64_t in, std::int64_t out) {
                                           return arrays.weight[(out * conv.in_channels + in) * taps + tap];
                                         });
    guarded_loop(parallel_for_beside_openmp, blocks.count(), conv.threads, 1,
                 [&](std::int64_t begin, std::int64_t end) {
                   Blocks<PanelMatrices<Target>> range{problem, matrices, begin, end};
                   run_on_target<Target>(range);
                 });
  });
  if (problem.moments != nullptr) merge_moments(problem);
}

}  // namespace

bool row_conv(const RowConv& conv, const RowConvForward& arrays) noexcept {
  return guarded([&] { convolve(merge_axes(conv), arrays); });
}

}  // namespace fastpose
