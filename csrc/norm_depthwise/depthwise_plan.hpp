// How a depthwise convolution is cut into units of work, and the taps that each of their rows sums.
#pragma once

#include <algorithm>
#include <cstdint>
#include <tuple>
#include <vector>

#include "base/channel_blocks.hpp"
#include "base/guarded.hpp"
#include "base/instructions.hpp"
#include "base/line_vector.hpp"
#include "base/thread_pool.hpp"
#include "base/with_constant.hpp"
#include "norm_depthwise/depthwise_conv.hpp"
#include "norm_depthwise/depthwise_window.hpp"

namespace fastpose {

inline constexpr std::int64_t kWindowBytes = 384 << 10;  // stays in a second-level cache
inline constexpr std::int64_t kFramesPerUnit = 12;       // so that short batches occupy many threads
inline constexpr std::int64_t kGroupElements = 6 << 10;  // of target rows; stays in a first-level cache

// Neighbouring columns of a source row that a target sums: the first one's place in the window and its
// weight.
struct RowTaps {
  std::int64_t offset;
  std::int64_t weight;
};

// The pixels of a target row that have the same taps.
struct Phase {
  int columns;               // of each RowTaps
  std::int64_t weight_step;  // from one column's weight to the next one's
  // The pixels in runs: `longer` ones of `length` + 1, then ones of `length`.
  std::int64_t runs;
  int length;
  std::int64_t longer;

  int run_length(std::int64_t run) const { return length + (run < longer ? 1 : 0); }
};

// A unit is a stretch of frames and rows of one clip's target, all channels.
struct DepthwisePlan {
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
  std::int64_t source_clip() const { return t.source * y.source * x.source * blocks.channels; }
  std::int64_t target_row(std::int64_t clip, std::int64_t frame, std::int64_t row) const {
    return ((clip * t.target + frame) * y.target + row) * x.target * blocks.channels;
  }
  // Rows of the target that are worked on together.
  std::int64_t group_rows() const {
    return std::max<std::int64_t>(1, kGroupElements / (x.target * blocks.channels));
  }
  // How many neighbouring columns of a phase are summed together.
  std::size_t columns_together(std::int64_t phase) const {
    const std::size_t columns = x.taps_of(phase).size();
    return columns % 3 == 0 ? 3 : columns % 2 == 0 ? 2 : 1;
  }
  // All phases, in runs of at most `most` pixels.
  std::vector<Phase> phases(std::int64_t most) const {
    std::vector<Phase> result;
    for (std::int64_t phase = 0; phase < x.phases; ++phase) {
      const std::vector<GatherAxis::Tap>& columns = x.taps_of(phase);
      const std::int64_t step = columns.size() > 1 ? (columns[1].k - columns[0].k) * kLanes : 0;
      const std::int64_t pixels = (x.target - 1 - phase) / x.phases + 1, runs = (pixels + most - 1) / most;
      result.push_back({static_cast<int>(columns_together(phase)), step, runs,
                        static_cast<int>(pixels / runs), pixels % runs});
    }
    return result;
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

inline DepthwisePlan make_plan(const DepthwiseConv& conv, MakeAxis make) {
  const auto& [input, kernel, stride] = std::tie(conv.input, conv.kernel, conv.stride);
  DepthwisePlan plan{make(input[0], kernel[0], stride[0]),
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
struct DepthwiseUnit {
  std::int64_t clip, frame_begin, frame_end, row_begin, row_end;

  DepthwiseUnit(const DepthwisePlan& plan, std::int64_t index) {
    const std::int64_t strip = index % plan.strips;
    const std::int64_t stretch = index / plan.strips % plan.stretches;
    clip = index / (plan.strips * plan.stretches);
    row_begin = strip * plan.strip_rows;
    row_end = std::min(row_begin + plan.strip_rows, plan.y.target);
    frame_begin = stretch * kFramesPerUnit;
    frame_end = std::min(frame_begin + kFramesPerUnit, plan.t.target);
  }
};

// [row of the unit, phase of the column]: of one frame of the target.
using TapLists = std::vector<std::vector<RowTaps>>;

inline void list_taps(const DepthwisePlan& plan, const SourceWindow& window, const DepthwiseUnit& unit,
                      std::int64_t frame, TapLists& lists) {
  lists.resize(static_cast<std::size_t>((unit.row_end - unit.row_begin) * plan.x.phases));
  auto list = lists.begin();
  for (std::int64_t row = unit.row_begin; row < unit.row_end; ++row) {
    for (std::int64_t phase = 0; phase < plan.x.phases; ++phase, ++list) {
      list->clear();
      const std::vector<GatherAxis::Tap>& columns = plan.x.taps_of(phase);
      const std::size_t step = plan.columns_together(phase);
      for (const GatherAxis::Tap& t : plan.t.taps_of(frame)) {
        const std::int64_t source_frame = plan.t.source_of(frame, t);
        if (!plan.t.holds(source_frame)) continue;
        for (const GatherAxis::Tap& y : plan.y.taps_of(row)) {
          const std::int64_t source_row = plan.y.source_of(row, y);
          if (!plan.y.holds(source_row)) continue;
          const std::int64_t offset = window.row_offset(source_frame, source_row);
          const std::int64_t weight = (t.k * plan.kernel_rows + y.k) * plan.kernel_columns;
          for (std::size_t i = 0; i < columns.size(); i += step) {
            list->push_back({offset + columns[i].offset * kLanes, (weight + columns[i].k) * kLanes});
          }
        }
      }
    }
  }
}

// While rows of an array are worked on block by block, brings those that follow in line by line.
class NextRows {
 public:
  NextRows(const DepthwisePlan& plan, std::int64_t first, std::int64_t rows)
      : begin_(first + rows * plan.x.target * plan.blocks.channels),
        share_(rows * plan.x.target * plan.blocks.channels / plan.blocks.count()) {}

  // The block's share of the array, to read or to write.
  template <bool kWrites, class Element>
  void fetch(const Element* array, std::int64_t block) const {
    constexpr std::int64_t kLine = 64 / static_cast<std::int64_t>(sizeof(Element));
    const Element* values = array + begin_ + block * share_;
    for (std::int64_t i = 0; i < share_; i += kLine) __builtin_prefetch(values + i, kWrites);
  }

 private:
  std::int64_t begin_;
  std::int64_t share_;
};

// Calls body(target's first frame … last, tap lists) after the window holds what the frame reads, for all
// frames of the units [begin, end).
template <class Source, class Access, class Body>
void for_frames(const DepthwisePlan& plan, const Source& source, const Access& access, std::int64_t begin,
                std::int64_t end, const Body& body) {
  SourceWindow window = plan.window();
  TapLists lists;
  window.allocate();
  for (std::int64_t index = begin; index < end; ++index) {
    const DepthwiseUnit unit(plan, index);
    const auto [first, last] = plan.y.sources(unit.row_begin, unit.row_end);
    window.start(first, last);
    for (std::int64_t frame = unit.frame_begin; frame < unit.frame_end; ++frame) {
      const auto [low, high] = plan.t.sources(frame, frame + 1);
      window.need(source, access, unit.clip * plan.source_clip(), plan.y.source, low, high);
      list_taps(plan, window, unit, frame, lists);
      body(index, unit, frame, window, lists);
    }
  }
}

// [channels, taps] → [block][tap][lane].
inline LineVector<float> pack_weights(const DepthwisePlan& plan, const float* weight) {
  LineVector<float> packed(static_cast<std::size_t>(plan.blocks.count() * plan.taps * kLanes));
  float* at = packed.data();
  for (std::int64_t block = 0; block < plan.blocks.count(); ++block) {
    const std::int64_t begin = plan.blocks.begin(block);
    const std::int64_t lanes = std::min(kLanes, plan.blocks.channels);
    for (std::int64_t tap = 0; tap < plan.taps; ++tap, at += kLanes) {
      for (std::int64_t lane = 0; lane < lanes; ++lane) at[lane] = weight[(begin + lane) * plan.taps + tap];
    }
  }
  return packed;
}

// Runs make_body(begin, end) over all units.
template <class MakeBody>
void for_units(const DepthwisePlan& plan, int threads, const MakeBody& make_body) {
  const std::int64_t grain = std::max<std::int64_t>(1, plan.units() / (8 * std::max(1, threads)));
  guarded_loop(parallel_for_beside_openmp, plan.units(), threads, grain,
               [&](std::int64_t begin, std::int64_t end) {
                 auto body = make_body(begin, end);
                 run_on_best_target(body);
               });
}

}  // namespace fastpose
