#include <algorithm>
#include <cassert>
#include <type_traits>
#include <vector>

#include "base/guarded.hpp"
#include "base/instructions.hpp"
#include "base/line_vector.hpp"
#include "base/part_totals.hpp"
#include "base/thread_pool.hpp"
#include "heatmap/frame_gradient.hpp"
#include "heatmap/frame_marks.hpp"
#include "stem/pose_stem.hpp"
#include "stem/pose_stem_plan.hpp"
#include "stem/weighted_sum.hpp"

namespace fastpose {
namespace {

// Adds up the weights' gradient over some frames of the output.
template <class Element>
struct WeightGradient {
  // The output's gradient where it sees a window, in float32.
  struct Seen {
    std::int64_t x_begin, x_end, y_begin, y_end;
    const float* values = nullptr;  // of the row y_begin, from x_begin on
    std::int64_t row_stride = 0;
  };

  const StemPlan& plan;
  const Element* gradient;
  std::int64_t begin, end;  // units
  float* sums;              // packed
  FrameMarks marks;
  LineVector<float> widened;       // [H', W', O] at most, what is seen
  LineVector<float> rows;          // [kH, W', O], the gradient times a mark's column
  LineVector<float> row;           // [W], values of a mark
  const Element* ahead = nullptr;  // what is to be fetched next of the next frame
  const Element* ahead_end = nullptr;
  std::int64_t ahead_step = 0;

  WeightGradient(const StemPlan& plan, const Element* gradient, std::int64_t begin, std::int64_t end,
                 float* sums)
      : plan(plan),
        gradient(gradient),
        begin(begin),
        end(end),
        sums(sums),
        marks(plan.maps, plan.maps.parts()),
        widened(std::is_same_v<Element, float> ? 0 : static_cast<std::size_t>(plan.frame_elements())),
        rows(static_cast<std::size_t>(plan.y.kernel * plan.x.output * plan.out_channels)),
        row(static_cast<std::size_t>(plan.maps.width + kLanes)) {}

  template <class Target>
  void run() {
    const auto count = static_cast<std::int64_t>(marks.marks().size());
    ahead_step =
        plan.frame_elements() / std::max<std::int64_t>(count * (plan.y.kernel + plan.x.kernel), 1) + 64;
    for (std::int64_t unit = begin; unit < end; ++unit) {
      const std::int64_t clip = unit / plan.t.output, target = unit % plan.t.output;
      const Element* frame = gradient + unit * plan.frame_elements();
      ahead = frame + plan.frame_elements();
      ahead_end = ahead + (unit + 1 < end ? plan.frame_elements() : 0);
      const std::int64_t last = plan.t.source_end(plan.t.input, target);
      for (std::int64_t source = plan.t.source_begin(0, target); source < last; ++source) {
        marks.place(clip, source, 0);
        for (std::int64_t i = 0; i < count; ++i) add_mark<Target>(i, plan.t.tap(source, target), frame);
      }
    }
  }

  // Windows are short stretches of memory whose pattern no CPU foresees: the next frame is fetched a little
  // at a time, between sums, as the memory has time for it.
  void fetch_ahead() {
    constexpr std::int64_t kLine = 64 / sizeof(Element);
    const Element* last = std::min(ahead + ahead_step, ahead_end);
    for (; ahead < last; ahead += kLine) __builtin_prefetch(ahead, 0, 2);
  }

  template <class Target>
  void add_mark(std::int64_t index, std::int64_t kt, const Element* frame) {
    const Mark& mark = marks.marks()[static_cast<std::size_t>(index)];
    const Window& window = mark.window;
    if (window.x0 >= window.x1) return;
    Seen seen{plan.x.target_begin(window.x0), plan.x.target_end(window.x1), plan.y.target_begin(window.y0),
              plan.y.target_end(window.y1)};
    if (seen.x_begin >= seen.x_end || seen.y_begin >= seen.y_end) return;
    widen<Target>(frame, seen);
    float* target = sums + plan.packed_offset(kt, mark.channel);
    if (!mark.is_segment && !marks.has_rivals(index)) {
      weigh_rows<Target>(window, mark.rows, seen);
      add_columns<Target>(window, mark.columns, seen, target);
      return;
    }
    const float whole = 1.0f;
    for (std::int64_t y = window.y0; y < window.y1; ++y) {
      marks.winning_row(index, y, row.data());
      weigh_rows<Target>({window.x0, window.x1, y, y + 1}, &whole, seen);
      add_columns<Target>(window, row.data(), seen, target);
    }
  }

  template <class Target>
  void widen(const Element* frame, Seen& seen) {
    const std::int64_t frame_row = plan.x.output * plan.out_channels;
    const Element* source = frame + seen.y_begin * frame_row + seen.x_begin * plan.out_channels;
    if constexpr (std::is_same_v<Element, float>) {
      seen.values = source;
      seen.row_stride = frame_row;
    } else {
      seen.values = widened.data();
      seen.row_stride = (seen.x_end - seen.x_begin) * plan.out_channels;
      WeightedSum<Target, Element> copy(
          {seen.y_end - seen.y_begin, seen.row_stride, frame_row, seen.row_stride}, widened.data(), false);
      copy.add(1.0f, source);
      copy.finish();
    }
  }

  // For each kernel row, what is seen of the window, weighted along y.
  template <class Target>
  void weigh_rows(const Window& window, const float* values, const Seen& seen) {
    const std::int64_t elements = (seen.x_end - seen.x_begin) * plan.out_channels;
    float* target = rows.data();
    for (std::int64_t ky = 0; ky < plan.y.kernel; ++ky, target += elements) {
      fetch_ahead();
      WeightedSum<Target, float> sum({1, elements, 0, 0}, target, false);
      for (std::int64_t source = window.y0; source < window.y1; ++source) {
        const std::int64_t y = plan.y.target(source, ky);
        if (y >= 0) sum.add(values[source - window.y0], seen.values + (y - seen.y_begin) * seen.row_stride);
      }
      sum.finish();
    }
  }

  template <class Target>
  void add_columns(const Window& window, const float* values, const Seen& seen, float* target) {
    const Rows shape{plan.y.kernel, plan.out_channels, (seen.x_end - seen.x_begin) * plan.out_channels,
                     plan.out_channels};
    for (std::int64_t kx = 0; kx < plan.x.kernel; ++kx, target += plan.column_elements()) {
      fetch_ahead();
      WeightedSum<Target, float> sum(shape, target, true);
      for (std::int64_t source = window.x0; source < window.x1; ++source) {
        const float value = values[source - window.x0];
        const std::int64_t x = plan.x.target(source, kx);
        if (x < 0 || value == 0.0f) continue;
        sum.add(value, rows.data() + (x - seen.x_begin) * plan.out_channels);
      }
      sum.finish();
    }
  }
};

// Parts whose sums are added in order, so that the result does not depend on the threads.
std::int64_t count_parts(const StemPlan& plan) {
  constexpr std::int64_t kUnitsPerPart = 12, kMostParts = 64;
  return std::clamp<std::int64_t>(plan.units() / kUnitsPerPart, 1, kMostParts);
}

template <class Element>
void weight_gradient_of(const PoseStem& stem, const Element* gradient, float* weight_gradient) {
  const StemPlan plan(stem);
  const std::int64_t parts = count_parts(plan), size = plan.packed_size();
  LineVector<float> sums(static_cast<std::size_t>(parts * size));
  guarded_loop(parallel_for_beside_openmp, parts, stem.threads, 1,
               [&](std::int64_t first, std::int64_t last) {
                 for (std::int64_t part = first; part < last; ++part) {
                   WeightGradient<Element> body(plan, gradient, plan.units() * part / parts,
                                                plan.units() * (part + 1) / parts, sums.data() + part * size);
                   run_on_best_target(body);
                 }
               });
  const std::vector<double> totals = total_parts(sums.data(), parts, size);
  plan.for_each_weight([&](std::int64_t from, std::int64_t to) {
    weight_gradient[to] = static_cast<float>(totals[static_cast<std::size_t>(from)]);
  });
}

// The maps' gradient where marks are drawn, and from it the keypoints', frame by frame.
template <class Element>
struct KeypointGradient {
  const StemPlan& plan;
  const float* weights;  // packed
  const Element* gradient;
  float* result;
  std::int64_t begin, end;  // frames of the input
  FrameGradient frame_gradient;
  LineVector<float> map_gradient;  // [C, H, W]; read only where it has been written for the frame

  KeypointGradient(const StemPlan& plan, const float* weights, const Element* gradient, float* result,
                   std::int64_t begin, std::int64_t end)
      : plan(plan),
        weights(weights),
        gradient(gradient),
        result(result),
        begin(begin),
        end(end),
        frame_gradient(plan.maps),
        map_gradient(static_cast<std::size_t>(plan.channels * plan.maps.height * plan.maps.width)) {}

  template <class Target>
  void run() {
    const std::int64_t width = plan.maps.width, pixels = plan.maps.height * width;
    for (std::int64_t unit = begin; unit < end; ++unit) {
      const std::int64_t clip = unit / plan.maps.frames, frame = unit % plan.maps.frames;
      for (const Mark& mark : frame_gradient.place(clip, frame).marks()) convolve_back(mark, clip, frame);
      frame_gradient.write<float>({map_gradient.data(), pixels, width, 1}, result);
    }
  }

  void convolve_back(const Mark& mark, std::int64_t clip, std::int64_t frame) {
    const Window& window = mark.window;
    float* channel = map_gradient.data() + mark.channel * plan.maps.height * plan.maps.width;
    for (std::int64_t y = window.y0; y < window.y1; ++y) {
      for (std::int64_t x = window.x0; x < window.x1; ++x) {
        channel[y * plan.maps.width + x] = pixel_gradient(mark.channel, clip, frame, y, x);
      }
    }
  }

  float pixel_gradient(std::int64_t channel, std::int64_t clip, std::int64_t frame, std::int64_t y,
                       std::int64_t x) const {
    Floats sum{};
    for (std::int64_t kt = 0; kt < plan.t.kernel; ++kt) {
      const std::int64_t target_t = plan.t.target(frame, kt);
      if (target_t < 0) continue;
      const float* taps = weights + plan.packed_offset(kt, channel);
      for (std::int64_t target_y = plan.y.target_begin(y); target_y < plan.y.target_end(y + 1); ++target_y) {
        for (std::int64_t target_x = plan.x.target_begin(x); target_x < plan.x.target_end(x + 1);
             ++target_x) {
          const std::int64_t row = (clip * plan.t.output + target_t) * plan.y.output + target_y;
          const Element* outputs = gradient + (row * plan.x.output + target_x) * plan.out_channels;
          const std::int64_t tap = plan.x.tap(x, target_x) * plan.y.kernel + plan.y.tap(y, target_y);
          add_products(taps + tap * plan.out_channels, outputs, sum);
        }
      }
    }
    float total = 0.0f;
    for (std::int64_t lane = 0; lane < kLanes; ++lane) total += sum[lane];
    return total;
  }

  void add_products(const float* first, const Element* second, Floats& sum) const {
    for (std::int64_t i = 0; i < plan.out_channels; i += kLanes) {
      const ChannelBlocks block{std::min(kLanes, plan.out_channels - i)};
      Floats a, b;
      block.read_block(first + i, a);
      block.read_block(second + i, b);
      sum += a * b;
    }
  }
};

template <class Element>
void keypoint_gradient_of(const PoseStem& stem, const float* weight, const Element* gradient, float* result) {
  const StemPlan plan(stem);
  const LineVector<float> weights = plan.pack(weight);
  const std::int64_t units = stem.maps.batch * stem.maps.frames;
  const std::int64_t grain = std::max<std::int64_t>(1, units / (8 * std::max(1, stem.threads)));
  guarded_loop(parallel_for_beside_openmp, units, stem.threads, grain,
               [&](std::int64_t begin, std::int64_t end) {
                 KeypointGradient<Element> body(plan, weights.data(), gradient, result, begin, end);
                 run_on_best_target(body);
               });
}

}  // namespace

bool pose_stem_weight_gradient(const PoseStem& stem, const void* output_gradient,
                               float* weight_gradient) noexcept {
  assert(stem.maps.mode != HeatmapMode::kGrayscaleMax);
  return guarded([&] {
    stem.element == ElementType::kFloat32
        ? weight_gradient_of(stem, static_cast<const float*>(output_gradient), weight_gradient)
        : weight_gradient_of(stem, static_cast<const BFloat16*>(output_gradient), weight_gradient);
  });
}

bool pose_stem_keypoint_gradient(const PoseStem& stem, const float* weight, const void* output_gradient,
                                 float* keypoint_gradient) noexcept {
  assert(stem.maps.mode != HeatmapMode::kGrayscaleMax);
  return guarded([&] {
    stem.element == ElementType::kFloat32
        ? keypoint_gradient_of(stem, weight, static_cast<const float*>(output_gradient), keypoint_gradient)
        : keypoint_gradient_of(stem, weight, static_cast<const BFloat16*>(output_gradient),
                               keypoint_gradient);
  });
}

}  // namespace fastpose
