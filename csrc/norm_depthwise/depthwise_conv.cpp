#include "norm_depthwise/depthwise_conv.hpp"

#include "norm_depthwise/depthwise_plan.hpp"

namespace fastpose {
namespace {

// Sums of kPixels neighbouring targets over groups of kTaps neighbouring columns. kStep is the distance of
// the targets' sources in pixels, 0: `step` is.
template <int kPixels, int kTaps, int kStep>
void sum_taps(const std::vector<RowTaps>& taps, const float* window, const float* weights,
              std::int64_t weight_step, std::int64_t step, Floats* sums) {
  Floats running[kPixels] = {};
  for (const RowTaps& group : taps) {
    const float* source = window + group.offset;
    Floats factors[kTaps];
#pragma GCC unroll 3
    for (int tap = 0; tap < kTaps; ++tap) read(weights + group.weight + tap * weight_step, factors[tap]);
    if constexpr (kStep > 0) {
#pragma GCC unroll 32
      for (int column = 0; column < kStep * (kPixels - 1) + kTaps; ++column) {
        Floats value;
        read(source + column * kLanes, value);
#pragma GCC unroll 3
        for (int tap = 0; tap < kTaps; ++tap) {
          const int distance = column - tap;
          const bool used = distance >= 0 && distance % kStep == 0 && distance / kStep < kPixels;
          if (used) running[distance / kStep] += value * factors[tap];
        }
      }
    } else {
      for (int pixel = 0; pixel < kPixels; ++pixel) {
        for (int tap = 0; tap < kTaps; ++tap) {
          Floats value;
          read(source + (pixel * step + tap) * kLanes, value);
          running[pixel] += value * factors[tap];
        }
      }
    }
  }
#pragma GCC unroll 9
  for (int pixel = 0; pixel < kPixels; ++pixel) sums[pixel] = running[pixel];
}

template <class Source, class Element>
struct Forward {
  const DepthwisePlan& plan;
  Source source;
  const float* weights;  // packed
  Element* target;
  std::int64_t begin, end;  // units

  template <class Target>
  void run() {
    const Phase phase = plan.phases(Target::kSums).front();
    with_block_access<Target>(plan.blocks, [&](auto access) {
      for_frames(
          plan, source, access, begin, end,
          [&](std::int64_t, const DepthwiseUnit& unit, std::int64_t frame, const SourceWindow& window,
              const TapLists& lists) { write_frame<Target>(access, phase, unit, frame, window, lists); });
    });
  }

  template <class Target, class Access>
  void write_frame(const Access access, const Phase& phase, const DepthwiseUnit& unit, std::int64_t frame,
                   const SourceWindow& window, const TapLists& lists) const {
    const std::int64_t group = plan.group_rows();
    for (std::int64_t first = unit.row_begin; first < unit.row_end; first += group) {
      const std::int64_t last = std::min(first + group, unit.row_end);
      const NextRows next(plan, plan.target_row(unit.clip, frame, first), last - first);
      for (std::int64_t block = 0; block < plan.blocks.count(); ++block) {
        next.fetch<true>(target, block);
        const float* values = window.values() + block * window.block_floats();
        for (std::int64_t row = first; row < last; ++row) {
          write_row<Target>(access, phase, values, weights + block * plan.taps * kLanes,
                            lists[static_cast<std::size_t>(row - unit.row_begin)],
                            target + plan.target_row(unit.clip, frame, row) + plan.blocks.begin(block));
        }
      }
    }
  }

  template <class Target, class Access>
  void write_row(const Access access, const Phase& phase, const float* values, const float* block_weights,
                 const std::vector<RowTaps>& taps, Element* at) const {
    constexpr int kSums = Target::kSums;
    const std::int64_t step = plan.x.step, channels = plan.blocks.channels;
    for (std::int64_t run = 0; run < phase.runs; ++run) {
      const int count = phase.run_length(run);
      Floats sums[kSums];
      with_constant<kSums>(count, [&](auto pixels) {
        with_constant<3>(phase.columns, [&](auto columns) {
          constexpr int kPixels = decltype(pixels)::value, kTaps = decltype(columns)::value;
          if (step == 1) {
            sum_taps<kPixels, kTaps, 1>(taps, values, block_weights, phase.weight_step, 1, sums);
          } else if (step == 2) {
            sum_taps<kPixels, kTaps, 2>(taps, values, block_weights, phase.weight_step, 2, sums);
          } else {
            sum_taps<kPixels, kTaps, 0>(taps, values, block_weights, phase.weight_step, step, sums);
          }
        });
      });
      for (int i = 0; i < count; ++i, at += channels) access.write(sums[i], at);
      values += count * step * kLanes;
    }
  }
};

template <class Element, class Source>
void forward(const DepthwiseConv& conv, const Source& source, const float* weight, void* output) {
  const DepthwisePlan plan = make_plan(conv, GatherAxis::forward);
  const LineVector<float> weights = pack_weights(plan, weight);
  for_units(plan, conv.threads, [&](std::int64_t begin, std::int64_t end) {
    return Forward<Source, Element>{plan, source, weights.data(), static_cast<Element*>(output), begin, end};
  });
}

template <class Element>
void forward(const DepthwiseConv& conv, const InputNorm* norm, const void* input, const float* weight,
             void* output) {
  const auto* values = static_cast<const Element*>(input);
  norm == nullptr ? forward<Element>(conv, PlainSource<Element>{values}, weight, output)
                  : forward<Element>(conv, NormedSource<Element>{values, *norm}, weight, output);
}

}  // namespace

bool depthwise_conv(const DepthwiseConv& conv, const InputNorm* norm, const void* input, const float* weight,
                    void* output) noexcept {
  return guarded([&] {
    conv.element == ElementType::kFloat32 ? forward<float>(conv, norm, input, weight, output)
                                          : forward<BFloat16>(conv, norm, input, weight, output);
  });
}

}  // namespace fastpose
