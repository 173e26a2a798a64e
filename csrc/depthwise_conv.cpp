#include "depthwise_conv.hpp"

#include <atomic>
#include <tuple>
#include <vector>

#include "best_target.hpp"
#include "depthwise_window.hpp"
#include "lanes.hpp"
#include "thread_pool.hpp"

namespace fastpose {
namespace {

constexpr std::int64_t kWindowBytes = 384 << 10;  // stays in a second-level cache
constexpr std::int64_t kFramesPerUnit = 12;       // so that short batches occupy many threads

// A unit is a stretch of frames and rows of one clip's target, all channels.
struct Plan {
  GatherAxis t, y, x;
  ChannelBlocks blocks;
  std::int64_t batch;
  std::int64_t slots;       // frames of the window
  std::int64_t strip_rows;  // of the target
  std::int64_t strips;
  std::int64_t stretches;
  std::int64_t window_rows;
  std::int64_t kernel_rows;
  std::int64_t kernel_columns;
  std::int64_t taps;

  std::int64_t units() const { return batch * strips * stretches; }
  SourceWindow window() const { return {x, blocks, slots, window_rows}; }
  std::int64_t weight_index(std::int64_t kt, std::int64_t ky, std::int64_t kx) const {
    return (kt * kernel_rows + ky) * kernel_columns + kx;
  }
  void set_strips(std::int64_t rows) {
    strip_rows = rows;
    strips = (y.target + rows - 1) / rows;
    window_rows = 0;
    for (std::int64_t begin = 0; begin < y.target; begin += rows) {
      const auto [low, high] = y.sources(begin, std::min(begin + rows, y.target));
      window_rows = std::max(window_rows, high - low);
    }
  }
};

using MakeAxis = GatherAxis (*)(std::int64_t, std::int64_t, std::int64_t);

Plan make_plan(const DepthwiseConv& conv, MakeAxis make) {
  const auto& [input, kernel, stride] = std::tie(conv.input, conv.kernel, conv.stride);
  Plan plan{make(input[0], kernel[0], stride[0]),
            make(input[1], kernel[1], stride[1]),
            make(input[2], kernel[2], stride[2]),
            {conv.channels},
            conv.batch,
            kernel[0],
            0,
            0,
            0,
            0,
            kernel[1],
            kernel[2],
            kernel[0] * kernel[1] * kernel[2]};
  plan.stretches = (plan.t.target + kFramesPerUnit - 1) / kFramesPerUnit;
  plan.set_strips(plan.y.target);
  const std::int64_t row_bytes = plan.window().bytes_per_row();
  for (std::int64_t parts = 2; plan.window_rows * row_bytes > kWindowBytes && plan.strip_rows > 1; ++parts) {
    plan.set_strips((plan.y.target + parts - 1) / parts);
  }
  return plan;
}

// Where a unit's target lies, and its source's clip.
struct Unit {
  std::int64_t clip, frame_begin, frame_end, row_begin, row_end;

  Unit(const Plan& plan, std::int64_t index) {
    const std::int64_t strip = index % plan.strips;
    const std::int64_t stretch = index / plan.strips % plan.stretches;
    clip = index / (plan.strips * plan.stretches);
    row_begin = strip * plan.strip_rows;
    row_end = std::min(row_begin + plan.strip_rows, plan.y.target);
    frame_begin = stretch * kFramesPerUnit;
    frame_end = std::min(frame_begin + kFramesPerUnit, plan.t.target);
  }
};

template <class Element>
const Element* clip_of(const Plan& plan, const Element* source, std::int64_t clip) {
  return source + clip * plan.t.source * plan.y.source * plan.x.source * plan.blocks.channels;
}

// [channels, taps] → [block][tap][lane]
AlignedFloats pack_weights(const Plan& plan, const float* weight) {
  AlignedFloats packed = allocate_floats(plan.blocks.count() * plan.taps * kLanes);
  if (packed == nullptr) return packed;
  float* at = packed.get();
  for (std::int64_t block = 0; block < plan.blocks.count(); ++block) {
    const std::int64_t begin = plan.blocks.begin(block);
    const std::int64_t lanes = std::min(kLanes, plan.blocks.channels);
    for (std::int64_t tap = 0; tap < plan.taps; ++tap, at += kLanes) {
      for (std::int64_t lane = 0; lane < lanes; ++lane) at[lane] = weight[(begin + lane) * plan.taps + tap];
    }
  }
  return packed;
}

struct Tap {
  std::int64_t offset;  // into the window's block, at the target's first column
  std::int64_t weight;  // into the block's weights
};

// Sums of kPixels neighbouring targets. kStep is the distance of their sources in pixels, 0: `step` is.
template <int kPixels, int kStep>
void sum_taps(const Tap* taps, std::size_t count, const float* window, const float* weights,
              std::int64_t step, Lanes* sums) {
  const std::int64_t stride = (kStep > 0 ? kStep : step) * kLanes;
  Lanes running[kPixels] = {};
  for (std::size_t i = 0; i < count; ++i) {
    const float* source = window + taps[i].offset;
    Lanes weight;
    read(weights + taps[i].weight, weight);
#pragma GCC unroll 9
    for (int pixel = 0; pixel < kPixels; ++pixel) {
      Lanes value;
      read(source + pixel * stride, value);
      running[pixel] += value * weight;
    }
  }
#pragma GCC unroll 9
  for (int pixel = 0; pixel < kPixels; ++pixel) sums[pixel] = running[pixel];
}

// Output from input, or input gradient from output gradient: the plan's axes tell them apart.
template <class Element>
struct Gather {
  const Plan& plan;
  const Element* source;
  const float* weights;  // packed
  Element* target;
  std::int64_t begin, end;  // units
  bool out_of_memory = false;

  template <class Target>
  void run() {
    SourceWindow window = plan.window();
    std::vector<std::vector<Tap>> taps;  // [row of the unit, phase of the column]
    if (!window.allocate()) {
      out_of_memory = true;
      return;
    }
    for (std::int64_t index = begin; index < end; ++index) {
      const Unit unit(plan, index);
      const auto [first, last] = plan.y.sources(unit.row_begin, unit.row_end);
      window.start(first, last);
      for (std::int64_t frame = unit.frame_begin; frame < unit.frame_end; ++frame) {
        const auto [low, high] = plan.t.sources(frame, frame + 1);
        window.need(clip_of(plan, source, unit.clip), plan.y.source, low, high);
        list_taps(window, unit, frame, taps);
        for (std::int64_t block = 0; block < plan.blocks.count(); ++block) {
          write_plane<Target>(window, unit, frame, block, taps);
        }
      }
    }
  }

  void list_taps(const SourceWindow& window, const Unit& unit, std::int64_t frame,
                 std::vector<std::vector<Tap>>& taps) const {
    taps.resize(static_cast<std::size_t>((unit.row_end - unit.row_begin) * plan.x.phases));
    auto list = taps.begin();
    for (std::int64_t row = unit.row_begin; row < unit.row_end; ++row) {
      for (std::int64_t phase = 0; phase < plan.x.phases; ++phase, ++list) {
        list->clear();
        for (const GatherAxis::Tap& t : plan.t.taps_of(frame)) {
          const std::int64_t source_frame = plan.t.source_of(frame, t);
          if (!plan.t.holds(source_frame)) continue;
          for (const GatherAxis::Tap& y : plan.y.taps_of(row)) {
            const std::int64_t source_row = plan.y.source_of(row, y);
            if (!plan.y.holds(source_row)) continue;
            const std::int64_t offset = window.row_offset(source_frame, source_row);
            for (const GatherAxis::Tap& x : plan.x.taps_of(phase)) {
              list->push_back({offset + x.offset * kLanes, plan.weight_index(t.k, y.k, x.k) * kLanes});
            }
          }
        }
      }
    }
  }

  template <class Target>
  void write_plane(const SourceWindow& window, const Unit& unit, std::int64_t frame, std::int64_t block,
                   const std::vector<std::vector<Tap>>& taps) const {
    constexpr int kSums = Target::kSums;
    const std::int64_t channels = plan.blocks.channels;
    const float* values = window.block(block);
    const float* block_weights = weights + block * plan.taps * kLanes;
    Element* const plane = target +
                           ((unit.clip * plan.t.target + frame) * plan.y.target * plan.x.target) * channels +
                           plan.blocks.begin(block);
    auto list = taps.begin();
    for (std::int64_t row = unit.row_begin; row < unit.row_end; ++row) {
      for (std::int64_t phase = 0; phase < plan.x.phases; ++phase, ++list) {
        const std::int64_t pixels = (plan.x.target - phase + plan.x.phases - 1) / plan.x.phases;
        std::int64_t groups = (pixels + kSums - 1) / kSums;
        for (std::int64_t pixel = 0; pixel < pixels; --groups) {
          const auto count = static_cast<int>((pixels - pixel + groups - 1) / groups);
          Lanes sums[kSums];
          sum<kSums>(*list, count, values + pixel * plan.x.step * kLanes, block_weights, sums);
          Element* at = plane + (row * plan.x.target + phase + pixel * plan.x.phases) * channels;
          for (int i = 0; i < count; ++i) {
            plan.blocks.template write_block<Target>(sums[i], at + i * plan.x.phases * channels);
          }
          pixel += count;
        }
      }
    }
  }

  template <int kSums>
  void sum(const std::vector<Tap>& taps, int count, const float* values, const float* block_weights,
           Lanes* sums) const {
    with_constant<kSums>(count, [&](auto pixels) {
      constexpr int kPixels = decltype(pixels)::value;
      if (plan.x.step == 1) {
        sum_taps<kPixels, 1>(taps.data(), taps.size(), values, block_weights, 1, sums);
      } else if (plan.x.step == 2) {
        sum_taps<kPixels, 2>(taps.data(), taps.size(), values, block_weights, 2, sums);
      } else {
        sum_taps<kPixels, 0>(taps.data(), taps.size(), values, block_weights, plan.x.step, sums);
      }
    });
  }
};

// Sums over pixels for kTaps taps of one block; `offsets` [rows][taps] into the window's block.
template <int kTaps, class Element>
void sum_pixels(const ChannelBlocks& blocks, const Element* gradient, std::int64_t rows, std::int64_t columns,
                const float* window, const std::int64_t* offsets, std::int64_t taps, std::int64_t step,
                float* sums) {
  Lanes running[kTaps] = {};
  for (std::int64_t row = 0; row < rows; ++row, offsets += taps) {
    const float* source[kTaps];
    for (int tap = 0; tap < kTaps; ++tap) source[tap] = window + offsets[tap];
    for (std::int64_t column = 0; column < columns; ++column) {
      Lanes pixel;
      blocks.read_block(gradient, pixel);
      gradient += blocks.channels;
#pragma GCC unroll 9
      for (int tap = 0; tap < kTaps; ++tap) {
        Lanes value;
        read(source[tap] + column * step * kLanes, value);
        running[tap] += value * pixel;
      }
    }
  }
  for (int tap = 0; tap < kTaps; ++tap) {
    Lanes sum;
    read(sums + tap * kLanes, sum);
    sum += running[tap];
    write<BaselineTarget>(sum, sums + tap * kLanes);
  }
}

// Each unit's own sums [block][tap][lane]; the source is the input, the target the output's gradient.
template <class Element>
struct WeightGradient {
  const Plan& plan;
  const Element* source;
  const Element* target;
  float* sums;              // [unit][block][tap][lane], zeros
  std::int64_t begin, end;  // units
  bool out_of_memory = false;

  template <class Target>
  void run() {
    SourceWindow window = plan.window();
    std::vector<std::int64_t> offsets;
    if (!window.allocate()) {
      out_of_memory = true;
      return;
    }
    for (std::int64_t index = begin; index < end; ++index) {
      const Unit unit(plan, index);
      const auto [first, last] = plan.y.sources(unit.row_begin, unit.row_end);
      window.start(first, last);
      for (std::int64_t frame = unit.frame_begin; frame < unit.frame_end; ++frame) {
        const auto [low, high] = plan.t.sources(frame, frame + 1);
        window.need(clip_of(plan, source, unit.clip), plan.y.source, low, high);
        list_offsets(window, unit, frame, offsets);
        for (std::int64_t block = 0; block < plan.blocks.count(); ++block) {
          add_block<Target::kSums>(window, unit, frame, block, offsets.data(),
                                   sums + (index * plan.blocks.count() + block) * plan.taps * kLanes);
        }
      }
    }
  }

  void list_offsets(const SourceWindow& window, const Unit& unit, std::int64_t frame,
                    std::vector<std::int64_t>& offsets) const {
    offsets.clear();
    for (std::int64_t row = unit.row_begin; row < unit.row_end; ++row) {
      for (const GatherAxis::Tap& t : plan.t.taps_of(0)) {
        const std::int64_t source_frame = plan.t.source_of(frame, t);
        for (const GatherAxis::Tap& y : plan.y.taps_of(0)) {
          const std::int64_t source_row = plan.y.source_of(row, y);
          const bool inside = plan.t.holds(source_frame) && plan.y.holds(source_row);
          const std::int64_t offset =
              inside ? window.row_offset(source_frame, source_row) : window.zero_row_offset();
          for (const GatherAxis::Tap& x : plan.x.taps_of(0)) offsets.push_back(offset + x.offset * kLanes);
        }
      }
    }
  }

  template <int kSums>
  void add_block(const SourceWindow& window, const Unit& unit, std::int64_t frame, std::int64_t block,
                 const std::int64_t* offsets, float* block_sums) const {
    const std::int64_t rows_before = (unit.clip * plan.t.target + frame) * plan.y.target + unit.row_begin;
    const Element* gradient =
        target + rows_before * plan.x.target * plan.blocks.channels + plan.blocks.begin(block);
    for (std::int64_t tap = 0; tap < plan.taps; tap += kSums) {
      with_constant<kSums>(static_cast<int>(std::min<std::int64_t>(kSums, plan.taps - tap)), [&](auto count) {
        sum_pixels<decltype(count)::value>(plan.blocks, gradient, unit.row_end - unit.row_begin,
                                           plan.x.target, window.block(block), offsets + tap, plan.taps,
                                           plan.x.step, block_sums + tap * kLanes);
      });
    }
  }
};

// Sums the units in their order, whoever computed them.
void reduce_units(const Plan& plan, const float* sums, float* weight_gradient) {
  const std::int64_t unit_floats = plan.blocks.count() * plan.taps * kLanes;
  for (std::int64_t channel = 0; channel < plan.blocks.channels; ++channel) {
    const std::int64_t block = channel / kLanes;
    const std::int64_t lane = channel - plan.blocks.begin(block);
    for (std::int64_t tap = 0; tap < plan.taps; ++tap) {
      double sum = 0;
      const float* at = sums + (block * plan.taps + tap) * kLanes + lane;
      for (std::int64_t unit = 0; unit < plan.units(); ++unit) sum += at[unit * unit_floats];
      weight_gradient[channel * plan.taps + tap] = static_cast<float>(sum);
    }
  }
}

// False where the body says so or runs out of memory.
template <class Body>
bool guarded(const Body& body) {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return false;
  }
}

// Runs make_body(begin, end) over all units; false: out of memory.
template <class MakeBody>
bool for_units(const Plan& plan, int threads, const MakeBody& make_body) {
  std::atomic<bool> out_of_memory{false};
  const std::int64_t grain = std::max<std::int64_t>(1, plan.units() / (8 * std::max(1, threads)));
  parallel_for_beside_openmp(plan.units(), threads, grain, [&](std::int64_t begin, std::int64_t end) {
    auto body = make_body(begin, end);
    if (!guarded([&] { return run_on_best_target(body), !body.out_of_memory; })) out_of_memory = true;
  });
  return !out_of_memory;
}

template <class Element>
bool gather(const DepthwiseConv& conv, MakeAxis make, const void* source, const float* weight, void* target) {
  const Plan plan = make_plan(conv, make);
  const AlignedFloats weights = pack_weights(plan, weight);
  if (weights == nullptr) return false;
  return for_units(plan, conv.threads, [&](std::int64_t begin, std::int64_t end) {
    return Gather<Element>{
        plan, static_cast<const Element*>(source), weights.get(), static_cast<Element*>(target), begin, end};
  });
}

template <class Element>
bool weight_gradient_of(const DepthwiseConv& conv, const void* input, const void* output_gradient,
                        float* weight_gradient) {
  const Plan plan = make_plan(conv, GatherAxis::forward);
  const AlignedFloats sums = allocate_floats(plan.units() * plan.blocks.count() * plan.taps * kLanes);
  if (sums == nullptr) return false;
  const bool done = for_units(plan, conv.threads, [&](std::int64_t begin, std::int64_t end) {
    return WeightGradient<Element>{plan,
                                   static_cast<const Element*>(input),
                                   static_cast<const Element*>(output_gradient),
                                   sums.get(),
                                   begin,
                                   end};
  });
  if (done) reduce_units(plan, sums.get(), weight_gradient);
  return done;
}

}  // namespace

bool depthwise_conv(const DepthwiseConv& conv, const void* input, const float* weight,
                    void* output) noexcept {
  return guarded([&] {
    return conv.element == ElementType::kFloat32
               ? gather<float>(conv, GatherAxis::forward, input, weight, output)
               : gather<BFloat16>(conv, GatherAxis::forward, input, weight, output);
  });
}

bool depthwise_conv_input_gradient(const DepthwiseConv& conv, const void* output_gradient,
                                   const float* weight, void* input_gradient) noexcept {
  return guarded([&] {
    return conv.element == ElementType::kFloat32
               ? gather<float>(conv, GatherAxis::backward, output_gradient, weight, input_gradient)
               : gather<BFloat16>(conv, GatherAxis::backward, output_gradient, weight, input_gradient);
  });
}

bool depthwise_conv_weight_gradient(const DepthwiseConv& conv, const void* input, const void* output_gradient,
                                    float* weight_gradient) noexcept {
  return guarded([&] {
    return conv.element == ElementType::kFloat32
               ? weight_gradient_of<float>(conv, input, output_gradient, weight_gradient)
               : weight_gradient_of<BFloat16>(conv, input, output_gradient, weight_gradient);
  });
}

}  // namespace fastpose
