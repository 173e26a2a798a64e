#include "heatmap/heatmap_renderer.hpp"

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <span>
#include <vector>

#include "base/block_copy.hpp"
#include "base/guarded.hpp"
#include "base/instructions.hpp"
#include "base/line_vector.hpp"
#include "base/number_formats.hpp"
#include "base/thread_pool.hpp"
#include "heatmap/frame_marks.hpp"

namespace fastpose {
namespace {

constexpr std::int64_t kTileBytes = 16 << 10;  // half of a small L1 cache
constexpr std::int64_t kSmallestRangeBytes = 64 << 10;
constexpr std::int64_t kLargestRangeBytes = 1 << 20;

// One unit of work owns a contiguous run of the output: [H, W] of one channel, or [H, W, K] of one frame. It
// draws `groups` joints or limbs, each of all persons.
struct Plan {
  std::int64_t parts;  // joints or limbs of a frame
  std::int64_t groups;
  std::int64_t units;
  std::int64_t channels;       // K
  std::int64_t rows_per_tile;  // a tile is composed in cache, then copied out
  bool sums;                   // groups are added up
};

Plan make_plan(const HeatmapJob& job, std::int64_t element_bytes) {
  const bool grayscale = job.maps.is_grayscale();
  Plan plan{};
  plan.parts = job.maps.parts();
  plan.sums = job.maps.mode == HeatmapMode::kGrayscaleSum;
  const bool whole_frames = grayscale || job.layout == HeatmapLayout::kChannelsLast;
  plan.groups = whole_frames ? plan.parts : 1;
  plan.units = job.maps.batch * job.maps.frames * (whole_frames ? 1 : plan.parts);
  plan.channels = grayscale ? 1 : plan.groups;
  const std::int64_t row_bytes = std::max<std::int64_t>(1, job.maps.width * plan.channels * element_bytes);
  std::int64_t rows = std::clamp<std::int64_t>(kTileBytes / row_bytes, 1, job.maps.height);
  if (rows < job.maps.height && rows >= 4) rows -= rows % 4;  // tiles that start on whole cache lines
  plan.rows_per_tile = rows;
  return plan;
}

// Renders units one after the other with one thread's buffers, which are all zero between tiles. Blocks may
// reach past a window's right edge, where they hold zeros, so that buffers end with a spare block.
template <class Element>
class UnitRenderer {
 public:
  UnitRenderer(const HeatmapJob& job, const Plan& plan, BlockCopy copy)
      : job_(job),
        plan_(plan),
        copy_(copy),
        marks_(job.maps, plan.groups),
        active_(marks_.marks().size()),
        tile_(tile_pixels(plan.channels)),
        row_(static_cast<std::size_t>(job.maps.width + kLanes)),
        group_(plan.sums ? tile_pixels(1) : 0),
        sums_(plan.sums ? tile_pixels(1) : 0) {}

  void render(std::int64_t unit) {
    place_marks(unit);
    const std::int64_t row_elements = job_.maps.width * plan_.channels;
    auto* output = static_cast<Element*>(job_.output) + unit * job_.maps.height * row_elements;
    for (std::int64_t y = 0; y < job_.maps.height; y += plan_.rows_per_tile) {
      tile_begin_ = y;
      tile_end_ = std::min(y + plan_.rows_per_tile, job_.maps.height);
      paint_tile();
      copy_(reinterpret_cast<std::byte*>(output + y * row_elements),
            reinterpret_cast<const std::byte*>(tile_.data()),
            static_cast<std::size_t>((tile_end_ - y) * row_elements) * sizeof(Element));
      clear_tile();
    }
  }

 private:
  std::size_t tile_pixels(std::int64_t channels) const {
    return static_cast<std::size_t>(plan_.rows_per_tile * job_.maps.width * channels + kLanes);
  }

  void place_marks(std::int64_t unit) {
    const std::int64_t frame = unit % job_.maps.frames, rest = unit / job_.maps.frames;
    if (plan_.groups < plan_.parts) {
      marks_.place_here(rest / plan_.parts, frame, rest % plan_.parts);
    } else {
      marks_.place_here(rest, frame, 0);
    }
  }

  void find_active_marks() {
    std::size_t count = 0;
    for (const Mark& mark : marks_.marks()) {
      active_[count] = &mark;
      count += static_cast<std::size_t>((mark.window.y0 < tile_end_) & (mark.window.y1 > tile_begin_));
    }
    active_count_ = count;
  }

  void paint_tile() {
    find_active_marks();
    if (plan_.sums) {
      paint_sums();
      return;
    }
    for (const Mark* mark : active()) paint_maximum(*mark, tile_.data() + mark->channel, plan_.channels);
  }

  // Persons merge by maximum in `group_`, which is then moved to `sums_`.
  void paint_sums() {
    for (std::size_t i = 0; i < active_count_;) {
      const std::size_t first = i;
      const std::int64_t group = active_[first]->group;
      for (; i < active_count_ && active_[i]->group == group; ++i) {
        paint_maximum(*active_[i], group_.data(), 1);
      }
      for (const Mark* mark : active().subspan(first, i - first)) {
        for_each_block(*mark, [this](std::int64_t at) {
          Floats sum, value;
          load(sums_.data() + at, sum);
          load(group_.data() + at, value);
          sum += value;
          store(sum, sums_.data() + at);
          store(Floats{}, group_.data() + at);  // another person's window may come by here
        });
      }
    }
    for (const Mark* mark : active()) {
      for_each_block(*mark, [this](std::int64_t at) {
        Floats sum;
        load(sums_.data() + at, sum);
        Block<Element> block;
        encode<Element>(sum, block);
        store(block, tile_.data() + at);
      });
    }
  }

  template <class Target>
  void paint_maximum(const Mark& mark, Target* target, std::int64_t stride) {
    const std::int64_t count = mark.window.x1 - mark.window.x0;
    for_each_row(mark, [&](std::int64_t y, std::int64_t at) {
      const float* columns = mark.columns;
      float weight = 1.0f;
      if (mark.is_segment) {
        segment_row(marks_.geometry(), mark, y, row_.data());
        columns = row_.data();
      } else {
        weight = mark.rows[y - mark.window.y0];
      }
      for (std::int64_t i = 0; i < count; i += kLanes) {
        Floats values;
        load(columns + i, values);
        values *= weight;
        Block<Target> block;
        encode<Target>(values, block);
        if (stride == 1) {
          Block<Target> painted;
          load(target + at + i, painted);
          raise_to(block, painted);
          store(painted, target + at + i);
        } else {
          raise_each(block, std::min<std::int64_t>(kLanes, count - i), target + (at + i) * stride, stride);
        }
      }
    });
  }

  template <class Target>
  static void raise_each(const Block<Target>& block, std::int64_t count, Target* target,
                         std::int64_t stride) {
    Target values[kLanes];
    store(block, values);
    for (std::int64_t lane = 0; lane < count; ++lane) {
      Target& pixel = target[lane * stride];
      if (pixel < values[lane]) pixel = values[lane];
    }
  }

  void clear_tile() {
    for (const Mark* mark : active()) {
      if (plan_.channels > 1) {
        Element* channel = tile_.data() + mark->channel;
        for_each_row(*mark, [&](std::int64_t, std::int64_t at) {
          const std::int64_t count = mark->window.x1 - mark->window.x0;
          for (std::int64_t x = 0; x < count; ++x) channel[(at + x) * plan_.channels] = Element{};
        });
        continue;
      }
      for_each_block(*mark, [this](std::int64_t at) {
        store(Block<Element>{}, tile_.data() + at);
        if (plan_.sums) store(Floats{}, sums_.data() + at);
      });
    }
  }

  // visit(y, pixel of the tile where the window's row starts) for the rows of the mark inside the tile.
  template <class Visit>
  void for_each_row(const Mark& mark, Visit visit) const {
    const std::int64_t begin = std::max(mark.window.y0, tile_begin_);
    const std::int64_t end = std::min(mark.window.y1, tile_end_);
    for (std::int64_t y = begin; y < end; ++y) visit(y, (y - tile_begin_) * job_.maps.width + mark.window.x0);
  }

  // visit(first pixel of the block) for the blocks of the mark inside the tile.
  template <class Visit>
  void for_each_block(const Mark& mark, Visit visit) const {
    const std::int64_t count = mark.window.x1 - mark.window.x0;
    for_each_row(mark, [&](std::int64_t, std::int64_t at) {
      for (std::int64_t i = 0; i < count; i += kLanes) visit(at + i);
    });
  }

  // The marks that touch the tile, in their order.
  std::span<const Mark* const> active() const { return {active_.data(), active_count_}; }

  const HeatmapJob& job_;
  const Plan& plan_;
  const BlockCopy copy_;
  FrameMarks marks_;  // [groups, persons]
  std::int64_t tile_begin_ = 0;
  std::int64_t tile_end_ = 0;
  std::size_t active_count_ = 0;
  std::vector<const Mark*> active_;
  LineVector<Element> tile_;  // [rows, W, K]
  LineVector<float> row_;     // [W], of a segment
  LineVector<float> group_;   // [rows, W], persons merged; sums only
  LineVector<float> sums_;    // [rows, W]
};

// Renders the units [begin, end).
template <class Element>
struct UnitRange {
  const HeatmapJob& job;
  const Plan& plan;
  BlockCopy copy;
  std::int64_t begin, end;

  template <class Target>
  void run() const {
    UnitRenderer<Element> renderer(job, plan, copy);
    for (std::int64_t unit = begin; unit < end; ++unit) renderer.render(unit);
  }
};

template <class Element>
void render(const HeatmapJob& job) {
  const Plan plan = make_plan(job, sizeof(Element));
  const std::int64_t unit_bytes =
      job.maps.height * job.maps.width * plan.channels * static_cast<std::int64_t>(sizeof(Element));
  const std::int64_t bytes = unit_bytes * plan.units;
  if (bytes == 0) return;
  const bool streaming = bytes > kStreamingBytes;
  const BlockCopy copy = streaming ? streaming_copy() : cached_copy();
  const std::int64_t range_bytes =
      std::clamp(bytes / (4 * std::max(1, job.threads)), kSmallestRangeBytes, kLargestRangeBytes);
  guarded_loop(parallel_for, plan.units, job.threads, range_bytes / unit_bytes,
               [&](std::int64_t begin, std::int64_t end) {
                 UnitRange<Element> range{job, plan, copy, begin, end};
                 run_on_best_target<Avx2Target>(range);
                 if (streaming) finish_streaming();
               });
}

}  // namespace

bool render_heatmaps(const HeatmapJob& job) noexcept {
  assert(job.maps.height > 0 && job.maps.width > 0 && job.maps.sigma > 0);
  return guarded([&] {
    switch (job.element) {
      case ElementType::kFloat32:
        return render<float>(job);
      case ElementType::kFloat16:
        return render<Float16>(job);
      case ElementType::kBFloat16:
        return render<BFloat16>(job);
    }
  });
}

}  // namespace fastpose
