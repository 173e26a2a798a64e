#include "base/part_totals.hpp"
#include "norm_depthwise/depthwise_conv.hpp"
#include "norm_depthwise/depthwise_plan.hpp"

namespace fastpose {
namespace {

constexpr std::int64_t kNormSums = 4;  // beside those of the taps

// For kPixels neighbouring inputs: their gradients, sums over groups of kTaps neighbouring columns of the
// output's gradient, and what they add to the weights' gradients, from the same values.
template <int kPixels, int kTaps>
void gather_pixels(const std::vector<RowTaps>& taps, const float* window, const float* weights,
                   std::int64_t weight_step, const Floats* inputs, float* weight_sums, Floats* gradients) {
  Floats running[kPixels] = {};
  for (const RowTaps& group : taps) {
    const float* source = window + group.offset;
    Floats factors[kTaps], sums[kTaps];
#pragma GCC unroll 3
    for (int tap = 0; tap < kTaps; ++tap) {
      read(weights + group.weight + tap * weight_step, factors[tap]);
      read(weight_sums + group.weight + tap * weight_step, sums[tap]);
    }
#pragma GCC unroll 16
    for (int column = 0; column < kPixels + kTaps - 1; ++column) {
      Floats value;
      read(source + column * kLanes, value);
#pragma GCC unroll 3
      for (int tap = 0; tap < kTaps; ++tap) {
        const int pixel = column - tap;
        if (pixel < 0 || pixel >= kPixels) continue;
        running[pixel] += value * factors[tap];
        sums[tap] += value * inputs[pixel];
      }
    }
#pragma GCC unroll 3
    for (int tap = 0; tap < kTaps; ++tap) {
      store(sums[tap], weight_sums + group.weight + tap * weight_step);
    }
  }
#pragma GCC unroll 9
  for (int pixel = 0; pixel < kPixels; ++pixel) gradients[pixel] = running[pixel];
}

// Reads inputs as the convolution does, and writes their gradients.
template <class Element, class Access>
struct PlainInput {
  Access access;
  PlainInput(const Access& block_access, const InputNorm*, std::int64_t, float*) : access(block_access) {}
  void read(const Element* at, Floats& lanes) const { access.read(at, lanes); }
  void write(const Element*, const Floats& gradient, Element* target) const {
    access.write(gradient, target);
  }
  void finish() const {}
};

template <class Element, class Access>
struct NormedInput {
  Access access;
  Floats mean, scale, shift, floor;
  Floats totals[kNormSums] = {};
  float* sums;

  NormedInput(const Access& block_access, const InputNorm* norm, std::int64_t channel, float* norm_sums)
      : access(block_access), sums(norm_sums) {
    access.read(norm->mean + channel, mean);
    access.read(norm->scale + channel, scale);
    access.read(norm->shift + channel, shift);
    floor = Floats{} + (norm->relu ? 0.0f : -std::numeric_limits<float>::infinity());
  }
  void read(const Element* at, Floats& lanes) const {
    access.read(at, lanes);
    lanes = lanes * scale + shift;
    lanes = lanes < floor ? floor : lanes;
  }
  void write(const Element* at, const Floats& gradient, Element* target) {
    Floats input, stored;
    access.read(at, input);
    const Floats output = input * scale + shift, distance = input - mean;
    const Floats exact = output <= floor ? Floats{} : gradient;
    access.write(exact, target);
    access.read(target, stored);
    totals[0] += exact;
    totals[1] += exact * distance;
    totals[2] += stored;
    totals[3] += stored * distance;
  }
  void finish() const {
    for (int i = 0; i < kNormSums; ++i) {
      Floats before;
      fastpose::read(sums + i * kLanes, before);
      before += totals[i];
      store(before, sums + i * kLanes);
    }
  }
};

template <class Element, template <class, class> class Input>
struct Gradients {
  const DepthwisePlan& plan;
  const InputNorm* norm;
  const Element* inputs;
  PlainSource<Element> source;
  const float* weights;  // packed
  Element* target;
  float* sums;              // [unit][block][taps + kNormSums][lane], zeros
  std::int64_t begin, end;  // units

  template <class Target>
  void run() {
    const std::vector<Phase> phases = plan.phases(Target::kGradients);
    with_block_access<Target>(plan.blocks, [&](auto access) {
      for_frames(plan, source, access, begin, end,
                 [&](std::int64_t index, const DepthwiseUnit& unit, std::int64_t frame,
                     const SourceWindow& window, const TapLists& lists) {
                   write_frame<Target>(access, phases, index, unit, frame, window, lists);
                 });
    });
  }

  template <class Target, class Access>
  void write_frame(const Access access, const std::vector<Phase>& phases, std::int64_t index,
                   const DepthwiseUnit& unit, std::int64_t frame, const SourceWindow& window,
                   const TapLists& lists) const {
    const std::int64_t group = plan.group_rows(), blocks = plan.blocks.count();
    float* const unit_sums = sums + index * blocks * (plan.taps + kNormSums) * kLanes;
    for (std::int64_t first = unit.row_begin; first < unit.row_end; first += group) {
      const std::int64_t last = std::min(first + group, unit.row_end);
      const NextRows next(plan, plan.target_row(unit.clip, frame, first), last - first);
      for (std::int64_t block = 0; block < blocks; ++block) {
        next.fetch<false>(inputs, block);
        next.fetch<true>(target, block);
        float* const block_sums = unit_sums + block * (plan.taps + kNormSums) * kLanes;
        Input<Element, Access> input(access, norm, plan.blocks.begin(block), block_sums + plan.taps * kLanes);
        for (std::int64_t row = first; row < last; ++row) {
          const std::vector<RowTaps>* taps = &lists[static_cast<std::size_t>(row - unit.row_begin) *
                                                    static_cast<std::size_t>(plan.x.phases)];
          std::int64_t at = plan.target_row(unit.clip, frame, row) + plan.blocks.begin(block);
          for (const Phase& phase : phases) {
            write_phase<Target>(input, phase, window.values() + block * window.block_floats(),
                                weights + block * plan.taps * kLanes, *taps++, at, block_sums);
            at += plan.blocks.channels;
          }
        }
        input.finish();
      }
    }
  }

  template <class Target, class BlockInput>
  void write_phase(BlockInput& input, const Phase& phase, const float* values, const float* block_weights,
                   const std::vector<RowTaps>& taps, std::int64_t at, float* block_sums) const {
    const std::int64_t stride = plan.x.phases * plan.blocks.channels;
    for (std::int64_t run = 0; run < phase.runs; ++run) {
      const int count = phase.run_length(run);
      with_constant<Target::kGradients>(count, [&](auto pixels) {
        with_constant<3>(phase.columns, [&](auto columns) {
          constexpr int kPixels = decltype(pixels)::value, kTaps = decltype(columns)::value;
          Floats read[kPixels], gradients[kPixels];
          for (int i = 0; i < kPixels; ++i) input.read(inputs + at + i * stride, read[i]);
          gather_pixels<kPixels, kTaps>(taps, values, block_weights, phase.weight_step, read, block_sums,
                                        gradients);
          for (int i = 0; i < kPixels; ++i) {
            input.write(inputs + at + i * stride, gradients[i], target + at + i * stride);
          }
        });
      });
      at += count * stride;
      values += count * kLanes;
    }
  }
};

void reduce_units(const DepthwisePlan& plan, const float* sums, const DepthwiseGradients& gradients) {
  const std::int64_t slots = plan.taps + kNormSums, channels = plan.blocks.channels;
  const std::vector<double> totals = total_parts(sums, plan.units(), plan.blocks.count() * slots * kLanes);
  for (std::int64_t channel = 0; channel < channels; ++channel) {
    const std::int64_t block = channel / kLanes;
    const double* total = totals.data() + block * slots * kLanes + channel - plan.blocks.begin(block);
    for (std::int64_t slot = 0; slot < slots; ++slot, total += kLanes) {
      if (slot < plan.taps) {
        gradients.weight[channel * plan.taps + slot] = static_cast<float>(*total);
      } else if (gradients.norm_sums != nullptr) {
        gradients.norm_sums[(slot - plan.taps) * channels + channel] = *total;
      }
    }
  }
}

template <class Element, template <class, class> class Input>
void backward(const DepthwiseConv& conv, const InputNorm* norm, const void* input,
              const void* output_gradient, const float* weight, const DepthwiseGradients& gradients) {
  const DepthwisePlan plan = make_plan(conv, GatherAxis::backward);
  const LineVector<float> weights = pack_weights(plan, weight);
  LineVector<float> sums(
      static_cast<std::size_t>(plan.units() * plan.blocks.count() * (plan.taps + kNormSums) * kLanes));
  for_units(plan, conv.threads, [&](std::int64_t begin, std::int64_t end) {
    return Gradients<Element, Input>{plan,
                                     norm,
                                     static_cast<const Element*>(input),
                                     {static_cast<const Element*>(output_gradient)},
                                     weights.data(),
                                     static_cast<Element*>(gradients.input),
                                     sums.data(),
                                     begin,
                                     end};
  });
  reduce_units(plan, sums.data(), gradients);
}

template <class Element>
void backward(const DepthwiseConv& conv, const InputNorm* norm, const void* input,
              const void* output_gradient, const float* weight, const DepthwiseGradients& gradients) {
  norm == nullptr ? backward<Element, PlainInput>(conv, norm, input, output_gradient, weight, gradients)
                  : backward<Element, NormedInput>(conv, norm, input, output_gradient, weight, gradients);
}

}  // namespace

bool depthwise_conv_gradients(const DepthwiseConv& conv, const InputNorm* norm, const void* input,
                              const void* output_gradient, const float* weight,
                              const DepthwiseGradients& gradients) noexcept {
  return guarded([&] {
    conv.element == ElementType::kFloat32
        ? backward<float>(conv, norm, input, output_gradient, weight, gradients)
        : backward<BFloat16>(conv, norm, input, output_gradient, weight, gradients);
  });
}

}  // namespace fastpose
