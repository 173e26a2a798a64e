#include <algorithm>
#include <cmath>
#include <vector>

#include "base/guarded.hpp"
#include "base/part_totals.hpp"
#include "base/thread_pool.hpp"
#include "row_conv/row_blocks.hpp"
#include "row_conv/row_conv.hpp"
#include "row_conv/row_product.hpp"
#include "row_conv/row_source.hpp"

namespace fastpose {
namespace {

constexpr std::int64_t kRowsOfRange = 512;  // for which adding up weight gradients of the ranges costs little
constexpr std::int64_t kMostRanges = 64;
constexpr std::int64_t kRangeBytes = 64 << 20;  // of the weight gradients of all ranges, or of a single one

struct Problem {
  const RowConv& conv;
  const RowConvBackward& arrays;
  ChannelScale norm;
  StatisticsGradient statistics;
  Volume output;
  RowBlocks blocks;  // of the input
  std::int64_t taps;
  std::int64_t range_blocks;
  std::int64_t columns;     // of a row of weight gradients
  float* weight_gradients;  // [range][tap][C][columns], zeros; null where they are not wanted
  float* sums;              // [block][2][C], zeros; null where they are not wanted

  std::int64_t ranges() const { return (blocks.count() + range_blocks - 1) / range_blocks; }
  std::int64_t weight_size() const { return taps * conv.in_channels * columns; }
};

// Along one axis, input i lies below the taps r, r + stride, … of the outputs q, q - 1, …, where q and r are
// quotient and remainder of (i + padding) / stride. Inputs of one r have the same taps: a phase.
struct GradientAxis {
  std::int64_t kernel, stride;
  Span inputs;
  Window window;  // of outputs

  GradientAxis(const RowConv& conv, std::size_t axis, const Span& span)
      : kernel(conv.kernel[axis]), stride(conv.stride[axis]), inputs(span) {
    const std::int64_t reach = (kernel - 1) / stride;  // of the taps, in outputs
    const std::int64_t first = quotient(span.begin) - reach;
    window = {first, 1, quotient(span.end - 1) - first + 1};
  }

  std::int64_t quotient(std::int64_t input) const { return (input + kernel / 2) / stride; }
  std::int64_t remainder(std::int64_t input) const { return (input + kernel / 2) % stride; }
  std::int64_t place(std::int64_t input) const { return quotient(input) - window.first; }
};

// Calls take(input) for the inputs of one phase.
template <class Take>
void each_input(const GradientAxis& axis, std::int64_t phase, const Take& take) {
  for (std::int64_t i = axis.inputs.begin; i < axis.inputs.end; ++i) {
    if (axis.remainder(i) == phase) take(i);
  }
}

template <class Matrices>
struct Ranges {
  const Problem& problem;
  const Matrices& matrices;
  std::int64_t begin, end;

  template <class Target>
  void run() {
    Scratch scratch;
    OuterProducts<Target> outer;
    for (std::int64_t range = begin; range < end; ++range) {
      const std::int64_t first = range * problem.range_blocks;
      const std::int64_t last = std::min(first + problem.range_blocks, problem.blocks.count());
      float* const weight_gradient = problem.weight_gradients == nullptr
                                         ? nullptr
                                         : problem.weight_gradients + range * problem.weight_size();
      for (std::int64_t index = first; index < last; ++index) {
        find_gradients(index, weight_gradient, scratch, outer);
      }
    }
  }

  struct Scratch {
    LineVector<float> inputs, gradients;
    std::vector<std::int64_t> input_at, gradient_at, result_at;
  };

  template <class Target>
  void find_gradients(std::int64_t index, float* weight_gradient, Scratch& scratch,
                      OuterProducts<Target>& outer) const {
    const RowConv& conv = problem.conv;
    const RowConvBackward& arrays = problem.arrays;
    const std::int64_t channels = conv.in_channels;
    const RowBlock block = problem.blocks.block(index);
    const GradientAxis axes[] = {GradientAxis(conv, 0, block.frames), GradientAxis(conv, 1, block.lines),
                                 GradientAxis(conv, 2, {0, conv.input[2]})};
    const Window windows[] = {axes[0].window, axes[1].window, axes[2].window};
    const std::int64_t line = windows[2].size * conv.out_channels, frame = windows[1].size * line;
    const std::int64_t clip = windows[0].size * frame;
    // The last row is read to the end of a panel.
    scratch.gradients.resize(static_cast<std::size_t>(block.clips.size() * clip + kPanelColumns<Target>));
    read_windows(problem.output, conv.out_channels, block.clips, windows, scratch.gradients.data(), 0.0f,
                 [&, rows = GradientRows{arrays, problem.statistics, conv.out_channels}](
                     float* target, std::int64_t row, std::int64_t count) { rows.read(target, row, count); });
    const float* inputs = arrays.input;  // as they are, where they lie
    const bool copies = arrays.norm.mean != nullptr;
    const std::int64_t lines = block.lines.size() * conv.input[2];
    if (copies) {
      scratch.inputs.resize(
          static_cast<std::size_t>(block.clips.size() * block.frames.size() * lines * channels));
      inputs = scratch.inputs.data();
      float* to = scratch.inputs.data();
      const ScaledRows rows{arrays.input, problem.norm, arrays.norm.relu, channels};
      each_run(block, conv.input, [&](std::int64_t row, std::int64_t count) {
        rows.read(to, row, count);
        to += count * channels;
      });
    }
    for (std::int64_t pt = 0; pt < conv.stride[0]; ++pt) {
      for (std::int64_t ph = 0; ph < conv.stride[1]; ++ph) {
        for (std::int64_t pw = 0; pw < conv.stride[2]; ++pw) {
          scratch.input_at.clear();
          scratch.gradient_at.clear();
          scratch.result_at.clear();
          for (std::int64_t n = block.clips.begin; n < block.clips.end; ++n) {
            each_input(axes[0], pt, [&](std::int64_t t) {
              each_input(axes[1], ph, [&](std::int64_t h) {
                each_input(axes[2], pw, [&](std::int64_t w) {
                  const std::int64_t row = ((n * conv.input[0] + t) * conv.input[1] + h) * conv.input[2] + w;
                  const std::int64_t here =
                      ((n - block.clips.begin) * block.frames.size() + t - block.frames.begin) * lines +
                      (h - block.lines.begin) * conv.input[2] + w;
                  scratch.result_at.push_back(row * channels);
                  scratch.input_at.push_back((copies ? here : row) * channels);
                  scratch.gradient_at.push_back((n - block.clips.begin) * clip + axes[0].place(t) * frame +
                                                axes[1].place(h) * line +
                                                axes[2].place(w) * conv.out_channels);
                });
              });
            });
          }
          if (scratch.result_at.empty()) continue;
          Taps taps;
          for (std::int64_t t = pt; t < conv.kernel[0]; t += conv.stride[0]) {
            for (std::int64_t h = ph; h < conv.kernel[1]; h += conv.stride[1]) {
              for (std::int64_t w = pw; w < conv.kernel[2]; w += conv.stride[2]) {
                taps.distances.push_back(-(t / conv.stride[0] * frame + h / conv.stride[1] * line +
                                           w / conv.stride[2] * conv.out_channels));
                taps.matrices.push_back((t * conv.kernel[1] + h) * conv.kernel[2] + w);
              }
            }
          }
          if (arrays.input_gradient != nullptr) {
            multiply_rows<Target>(scratch.gradients.data(), scratch.gradient_at, taps, matrices,
                                  arrays.input_gradient, scratch.result_at);
          }
          if (weight_gradient == nullptr) continue;
          const auto rows = static_cast<std::int64_t>(scratch.input_at.size());
          constexpr std::int64_t kStep = OuterProducts<Target>::kMostRows;
          for (std::int64_t row = 0; row < rows; row += kStep) {
            outer.take_left(inputs, scratch.input_at.data() + row, std::min(kStep, rows - row), channels);
            for (std::size_t tap = 0; tap < taps.matrices.size(); ++tap) {
              outer.add(scratch.gradients.data() + taps.distances[tap], scratch.gradient_at.data() + row,
                        conv.out_channels, weight_gradient + taps.matrices[tap] * channels * problem.columns,
                        problem.columns);
            }
          }
        }
      }
    }
    if (problem.sums != nullptr) {
      each_run(block, conv.input, [&](std::int64_t row, std::int64_t count) {
        pass_norm(row, count, problem.sums + index * 2 * channels);
      });
    }
  }

  // From the gradient of relu(x·scale + shift) to that of x.
  void pass_norm(std::int64_t first, std::int64_t count, float* sums) const {
    const RowConvBackward& arrays = problem.arrays;
    const std::int64_t channels = problem.conv.in_channels;
    const float* inputs = arrays.input + first * channels;
    float* gradients = arrays.input_gradient + first * channels;
    while (count > 0) {
      const std::int64_t rows = std::min<std::int64_t>(count, kRowsAtOnce);
      each_channel(channels, [&](std::int64_t c, auto lanes) {
        using Lanes = typename decltype(lanes)::type;
        Lanes gradient, scale, shift, mean, sum, product;
        get(problem.norm.scale.data() + c, scale);
        get(problem.norm.shift.data() + c, shift);
        get(arrays.norm.mean + c, mean);
        get(sums + c, sum);
        get(sums + channels + c, product);
        for (std::int64_t i = 0; i < rows; ++i) {
          Lanes input;
          get(inputs + i * channels + c, input);
          get(gradients + i * channels + c, gradient);
          if (arrays.norm.relu) gradient = input * scale + shift <= 0.0f ? Lanes{} : gradient;
          sum += gradient;
          product += gradient * (input - mean);
          put(gradient * scale, gradients + i * channels + c);
        }
        put(sum, sums + c);
        put(product, sums + channels + c);
      });
      inputs += rows * channels;
      gradients += rows * channels;
      count -= rows;
    }
  }
};

void add_up_weights(const Problem& problem) {
  const RowConv& conv = problem.conv;
  const std::int64_t size = problem.weight_size();
  guarded_loop(parallel_for_beside_openmp, conv.in_channels, conv.threads, 8,
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t tap = 0; tap < problem.taps; ++tap) {
                   for (std::int64_t in = begin; in < end; ++in) {
                     for (std::int64_t out = 0; out < conv.out_channels; ++out) {
                       const float* at =
                           problem.weight_gradients + (tap * conv.in_channels + in) * problem.columns + out;
                       double total = 0;
                       for (std::int64_t range = 0; range < problem.ranges(); ++range)
                         total += at[range * size];
                       problem.arrays.weight_gradient[(out * conv.in_channels + in) * problem.taps + tap] =
                           static_cast<float>(total);
                     }
                   }
                 }
               });
}

// From the sums of the gradient g past the ReLU and of g·(x - mean) to those of what normalised x.
void finish_norm(const Problem& problem) {
  const RowNorm& norm = problem.arrays.norm;
  const std::int64_t channels = problem.conv.in_channels;
  const std::vector<double> totals = total_parts(problem.sums, problem.blocks.count(), 2 * channels);
  float* const result = problem.arrays.norm_gradients;
  for (std::int64_t c = 0; c < channels; ++c) {
    const double sum = totals[static_cast<std::size_t>(c)];
    const double product = totals[static_cast<std::size_t>(channels + c)];
    const double inverse = 1 / std::sqrt(static_cast<double>(norm.variance[c]) + norm.eps);
    result[c] = static_cast<float>(-norm.weight[c] * inverse * sum);
    result[channels + c] = static_cast<float>(-0.5 * norm.weight[c] * inverse * inverse * inverse * product);
    result[2 * channels + c] = static_cast<float>(inverse * product);
    result[3 * channels + c] = static_cast<float>(sum);
  }
}

void find_gradients(const RowConv& conv, const RowConvBackward& arrays) {
  const RowBlocks blocks(conv, conv.input);
  const Volume output = conv.output();
  const std::int64_t taps = conv.kernel[0] * conv.kernel[1] * conv.kernel[2];
  const std::int64_t rows = conv.batch * conv.input[0] * conv.input[1] * conv.input[2];
  const std::int64_t weight_bytes =
      taps * conv.in_channels * conv.out_channels * static_cast<std::int64_t>(sizeof(float));
  const std::int64_t most = std::clamp<std::int64_t>(kRangeBytes / weight_bytes, 1, kMostRanges);
  const std::int64_t ranges = std::clamp<std::int64_t>(rows / kRowsOfRange, 1, most);
  const bool normalized = arrays.norm.mean != nullptr && arrays.input_gradient != nullptr;
  LineVector<float> sums(normalized ? static_cast<std::size_t>(blocks.count() * 2 * conv.in_channels) : 0);
  LineVector<float> weight_gradients;
  Problem problem{
      .conv = conv,
      .arrays = arrays,
      .norm = ChannelScale(arrays.norm, conv.in_channels),
      .statistics =
          StatisticsGradient(arrays, conv.out_channels, conv.batch * output[0] * output[1] * output[2]),
      .output = output,
      .blocks = blocks,
      .taps = taps,
      .range_blocks = arrays.weight_gradient == nullptr ? 1 : (blocks.count() + ranges - 1) / ranges,
      .columns = 0,
      .weight_gradients = nullptr,
      .sums = normalized ? sums.data() : nullptr};
  with_product_target([&](auto target) {
    using Target = decltype(target);
    problem.columns = padded_columns<Target>(conv.out_channels);
    if (arrays.weight_gradient != nullptr) {
      weight_gradients.resize(static_cast<std::size_t>(problem.ranges() * problem.weight_size()));
      problem.weight_gradients = weight_gradients.data();
    }
    const PanelMatrices<Target> matrices(arrays.input_gradient == nullptr ? 0 : taps, conv.out_channels,
                                         conv.in_channels,
                                         [&](std::int64_t tap, std::int64_t out, std::int64_t in) {
                                           return arrays.weight[(out * conv.in_channels + in) * taps + tap];
                                         });
    guarded_loop(parallel_for_beside_openmp, problem.ranges(), conv.threads, 1,
                 [&](std::int64_t begin, std::int64_t end) {
                   Ranges<PanelMatrices<Target>> range{problem, matrices, begin, end};
                   run_on_target<Target>(range);
                 });
  });
  if (arrays.weight_gradient != nullptr) add_up_weights(problem);
  if (normalized) finish_norm(problem);
}

}  // namespace

bool row_conv_backward(const RowConv& conv, const RowConvBackward& arrays) noexcept {
  return guarded([&] { find_gradients(merge_axes(conv), arrays); });
}

}  // namespace fastpose
