#include "stem/pose_stem.hpp"

#include <cassert>
#include <cstddef>
#include <cstring>
#include <vector>

#include "base/block_copy.hpp"
#include "base/guarded.hpp"
#include "base/instructions.hpp"
#include "base/line_vector.hpp"
#include "base/thread_pool.hpp"
#include "heatmap/frame_marks.hpp"
#include "stem/pose_stem_plan.hpp"
#include "stem/weighted_sum.hpp"

namespace fastpose {
namespace {

// Composes one frame of the output at a time, in float32, from the marks of the frames that it sees.
template <class Element>
struct Forward {
  const StemPlan& plan;
  const float* weights;  // packed
  Element* output;
  std::int64_t begin, end;  // units
  BlockCopy copy;
  FrameMarks marks;
  LineVector<float> frame;            // [H', W', O], zeros between units
  LineVector<Element> encoded;        // [W', O], a row of the frame; zeros between rows
  LineVector<float> columns;          // [W', kH, O], a row of a mark convolved along x
  LineVector<float> row;              // [W], values of a mark
  std::vector<std::int64_t> touched;  // [H', 2], the columns of a row that are not zero

  Forward(const StemPlan& plan, const float* weights, Element* output, std::int64_t begin, std::int64_t end,
          BlockCopy copy)
      : plan(plan),
        weights(weights),
        output(output),
        begin(begin),
        end(end),
        copy(copy),
        marks(plan.maps, plan.maps.parts()),
        frame(static_cast<std::size_t>(plan.frame_elements())),
        encoded(static_cast<std::size_t>(plan.x.output * plan.out_channels)),
        columns(static_cast<std::size_t>(plan.x.output * plan.column_elements())),
        row(static_cast<std::size_t>(plan.maps.width + kLanes)),
        touched(static_cast<std::size_t>(plan.y.output) * 2) {}

  template <class Target>
  void run() {
    for (std::int64_t unit = begin; unit < end; ++unit) {
      const std::int64_t clip = unit / plan.t.output, target = unit % plan.t.output;
      for (std::int64_t y = 0; y < plan.y.output; ++y) {
        touched_begin(y) = plan.x.output;
        touched_end(y) = 0;
      }
      const std::int64_t first = plan.t.source_begin(0, target);
      const std::int64_t last = plan.t.source_end(plan.t.input, target);
      for (std::int64_t source = first; source < last; ++source) {
        marks.place(clip, source, 0);
        for (std::size_t i = 0; i < marks.marks().size(); ++i) {
          add_mark<Target>(static_cast<std::int64_t>(i), plan.t.tap(source, target));
        }
      }
      write_frame<Target>(output + unit * plan.frame_elements());
    }
  }

  std::int64_t& touched_begin(std::int64_t y) { return touched[static_cast<std::size_t>(y) * 2]; }
  std::int64_t& touched_end(std::int64_t y) { return touched[static_cast<std::size_t>(y) * 2 + 1]; }

  template <class Target>
  void add_mark(std::int64_t index, std::int64_t kt) {
    const Mark& mark = marks.marks()[static_cast<std::size_t>(index)];
    const Window& window = mark.window;
    if (window.x0 >= window.x1) return;
    const std::int64_t x_begin = plan.x.target_begin(window.x0), x_end = plan.x.target_end(window.x1);
    const std::int64_t y_begin = plan.y.target_begin(window.y0), y_end = plan.y.target_end(window.y1);
    if (x_begin >= x_end || y_begin >= y_end) return;
    for (std::int64_t y = y_begin; y < y_end; ++y) {
      touched_begin(y) = std::min(touched_begin(y), x_begin);
      touched_end(y) = std::max(touched_end(y), x_end);
    }
    const float* taps = weights + plan.packed_offset(kt, mark.channel);
    // A Gaussian is a product of a row and a column, unless a part of it is lost to another one.
    if (!mark.is_segment && !marks.has_rivals(index)) {
      convolve_row<Target>(window, mark.columns, taps, x_begin, x_end);
      for (std::int64_t y = y_begin; y < y_end; ++y) {
        const std::int64_t last = plan.y.source_end(window.y1, y);
        auto sum = sum_into<Target>(y, x_begin, x_end);
        for (std::int64_t source = plan.y.source_begin(window.y0, y); source < last; ++source) {
          sum.add(mark.rows[source - window.y0], tap_column(source, y));
        }
        sum.finish();
      }
      return;
    }
    for (std::int64_t source = window.y0; source < window.y1; ++source) {
      marks.winning_row(index, source, row.data());
      convolve_row<Target>(window, row.data(), taps, x_begin, x_end);
      const std::int64_t last = plan.y.target_end(source + 1);
      for (std::int64_t y = plan.y.target_begin(source); y < last; ++y) {
        auto sum = sum_into<Target>(y, x_begin, x_end);
        sum.add(1.0f, tap_column(source, y));
        sum.finish();
      }
    }
  }

  // Convolves a row of the window with the kernel's columns, all kernel rows side by side.
  template <class Target>
  void convolve_row(const Window& window, const float* values, const float* taps, std::int64_t x_begin,
                    std::int64_t x_end) {
    const std::int64_t elements = plan.column_elements();
    float* target = columns.data();
    for (std::int64_t x = x_begin; x < x_end; ++x, target += elements) {
      WeightedSum<Target, float> sum({1, elements, 0, 0}, target, false);
      const std::int64_t last = plan.x.source_end(window.x1, x);
      for (std::int64_t source = plan.x.source_begin(window.x0, x); source < last; ++source) {
        const float value = values[source - window.x0];
        if (value != 0.0f) sum.add(value, taps + plan.x.tap(source, x) * elements);
      }
      sum.finish();
    }
  }

  template <class Target>
  WeightedSum<Target, float> sum_into(std::int64_t y, std::int64_t x_begin, std::int64_t x_end) {
    const Rows rows{x_end - x_begin, plan.out_channels, plan.column_elements(), plan.out_channels};
    return {rows, frame.data() + (y * plan.x.output + x_begin) * plan.out_channels, true};
  }

  const float* tap_column(std::int64_t source, std::int64_t y) const {
    return columns.data() + plan.y.tap(source, y) * plan.out_channels;
  }

  template <class Target>
  void write_frame(Element* target) {
    const std::int64_t row_elements = plan.x.output * plan.out_channels;
    for (std::int64_t y = 0; y < plan.y.output; ++y, target += row_elements) {
      const std::int64_t first = std::min(touched_begin(y), plan.x.output) * plan.out_channels;
      const std::int64_t count = std::max(touched_end(y) * plan.out_channels - first, std::int64_t{0});
      float* values = frame.data() + y * row_elements;
      encode<Target>(values + first, count, encoded.data() + first);
      copy(reinterpret_cast<std::byte*>(target), reinterpret_cast<const std::byte*>(encoded.data()),
           static_cast<std::size_t>(row_elements) * sizeof(Element));
      clear(encoded.data() + first, count);
      clear(values + first, count);
    }
  }

  template <class Value>
  static void clear(Value* values, std::int64_t count) {
    std::memset(values, 0, static_cast<std::size_t>(count) * sizeof(Value));
  }

  template <class Target>
  static void encode(const float* values, std::int64_t count, Element* target) {
    const ChannelBlocks rest{count % kLanes};
    const std::int64_t whole = count - rest.channels;
    Floats lanes;
    for (std::int64_t i = 0; i < whole; i += kLanes) {
      read(values + i, lanes);
      write<Target>(lanes, target + i);
    }
    if (rest.channels == 0) return;
    rest.read_block(values + whole, lanes);
    rest.template write_block<Target>(lanes, target + whole);
  }
};

template <class Element>
void forward(const PoseStem& stem, const float* weight, Element* output) {
  const StemPlan plan(stem);
  const LineVector<float> weights = plan.pack(weight);
  const std::int64_t bytes =
      plan.units() * plan.frame_elements() * static_cast<std::int64_t>(sizeof(Element));
  const bool streaming = bytes > kStreamingBytes;
  const BlockCopy copy = streaming ? streaming_copy() : cached_copy();
  const std::int64_t grain = std::max<std::int64_t>(1, plan.units() / (8 * std::max(1, stem.threads)));
  guarded_loop(parallel_for_beside_openmp, plan.units(), stem.threads, grain,
               [&](std::int64_t begin, std::int64_t end) {
                 Forward<Element> body(plan, weights.data(), output, begin, end, copy);
                 run_on_best_target(body);
                 if (streaming) finish_streaming();
               });
}

}  // namespace

bool pose_stem(const PoseStem& stem, const float* weight, void* output) noexcept {
  assert(stem.maps.mode != HeatmapMode::kGrayscaleMax);
  return guarded([&] {
    stem.element == ElementType::kFloat32 ? forward(stem, weight, static_cast<float*>(output))
                                          : forward(stem, weight, static_cast<BFloat16*>(output));
  });
}

}  // namespace fastpose
