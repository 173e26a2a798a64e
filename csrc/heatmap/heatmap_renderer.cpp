#include "heatmap/heatmap_renderer.hpp"

#include <algorithm>
#include <atomic>
#include <cassert>
#include <cstddef>
#include <memory>
#include <new>

#include "base/block_copy.hpp"
#include "base/thread_pool.hpp"
#include "heatmap/heatmap_marks.hpp"

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

template <class T>
std::unique_ptr<T[]> allocate(std::int64_t count) {
  return std::unique_ptr<T[]>(new (std::nothrow) T[static_cast<std::size_t>(count)]());
}

// Renders units one after the other with one thread's buffers, which are all zero between tiles. Blocks may
// reach past a window's right edge, where they hold zeros, so that buffers end with a spare block.
template <class Element>
class UnitRenderer {
 public:
  UnitRenderer(const HeatmapJob& job, const Plan& plan, const MarkGeometry& geometry, BlockCopy copy)
      : job_(job),
        plan_(plan),
        geometry_(geometry),
        copy_(copy),
        mark_count_(plan.groups * job.maps.persons) {}

  bool allocate_buffers() {
    const std::int64_t table = geometry_.column_capacity + geometry_.row_capacity;
    const std::int64_t pixels = plan_.rows_per_tile * job_.maps.width;
    active_ = allocate<std::int64_t>(mark_count_ + 1);
    marks_ = allocate<Mark>(mark_count_);
    tables_ = allocate<float>(mark_count_ * table);
    tile_ = allocate<Element>(pixels * plan_.channels + kBlock);
    row_ = allocate<float>(job_.maps.width + kBlock);
    if (plan_.sums) {
      group_ = allocate<float>(pixels + kBlock);
      sums_ = allocate<float>(pixels + kBlock);
    }
    if (!active_ || !marks_ || !tables_ || !tile_ || !row_ || (plan_.sums && (!group_ || !sums_))) {
      return false;
    }
    for (std::int64_t i = 0; i < mark_count_; ++i) {
      marks_[i].group = i / job_.maps.persons;
      marks_[i].channel = plan_.channels > 1 ? marks_[i].group : 0;
      marks_[i].columns = tables_.get() + i * table;
      marks_[i].rows = marks_[i].columns + geometry_.column_capacity;
    }
    return true;
  }

  void render(std::int64_t unit) {
    place_marks(unit);
    const std::int64_t row_elements = job_.maps.width * plan_.channels;
    auto* output = static_cast<Element*>(job_.output) + unit * job_.maps.height * row_elements;
    for (std::int64_t y = 0; y < job_.maps.height; y += plan_.rows_per_tile) {
      tile_begin_ = y;
      tile_end_ = std::min(y + plan_.rows_per_tile, job_.maps.height);
      paint_tile();
      copy_(reinterpret_cast<std::byte*>(output + y * row_elements),
            reinterpret_cast<const std::byte*>(tile_.get()),
            static_cast<std::size_t>((tile_end_ - y) * row_elements) * sizeof(Element));
      clear_tile();
    }
  }

 private:
  // Keypoints [B, M, T, V, 3] to the unit's marks [group, person].
  void place_marks(std::int64_t unit) {
    const std::int64_t frame = unit % job_.maps.frames;
    std::int64_t clip = unit / job_.maps.frames;
    std::int64_t first_group = 0;
    if (plan_.groups < plan_.parts) {
      first_group = clip % plan_.parts;
      clip /= plan_.parts;
    }
    for (std::int64_t person = 0; person < job_.maps.persons; ++person) {
      const float* pose = job_.maps.keypoints + job_.maps.pose_offset(clip, person, frame);
      for (std::int64_t group = 0; group < plan_.groups; ++group) {
        Mark& mark = marks_[group * job_.maps.persons + person];
        if (job_.maps.mode == HeatmapMode::kLimb) {
          const Limb limb = job_.maps.limbs[static_cast<std::size_t>(first_group + group)];
          place_limb(geometry_, pose + limb.a * 3, pose + limb.b * 3, mark);
        } else {
          place_joint(geometry_, pose + (first_group + group) * 3, mark);
        }
      }
    }
  }

  void find_active_marks() {
    active_count_ = 0;
    for (std::int64_t i = 0; i < mark_count_; ++i) {
      active_[active_count_] = i;
      const Window& window = marks_[i].window;
      active_count_ += static_cast<int>((window.y0 < tile_end_) & (window.y1 > tile_begin_));
    }
  }

  void paint_tile() {
    find_active_marks();
    if (plan_.sums) {
      paint_sums();
      return;
    }
    for (std::int64_t i = 0; i < active_count_; ++i) {
      const Mark& mark = marks_[active_[i]];
      paint_maximum(mark, tile_.get() + mark.channel, plan_.channels);
    }
  }

  // Persons merge by maximum in `group_`, which is then moved to `sums_`.
  void paint_sums() {
    for (std::int64_t i = 0; i < active_count_;) {
      const std::int64_t group = marks_[active_[i]].group;
      const std::int64_t first = i;
      for (; i < active_count_ && marks_[active_[i]].group == group; ++i) {
        paint_maximum(marks_[active_[i]], group_.get(), 1);
      }
      for (std::int64_t j = first; j < i; ++j) {
        for_each_block(marks_[active_[j]], [this](std::int64_t at) {
          Floats sum, value;
          load(sums_.get() + at, sum);
          load(group_.get() + at, value);
          sum += value;
          store(sum, sums_.get() + at);
          store(Floats{}, group_.get() + at);  // another person's window may come by here
        });
      }
    }
    for (std::int64_t i = 0; i < active_count_; ++i) {
      for_each_block(marks_[active_[i]], [this](std::int64_t at) {
        Floats sum;
        load(sums_.get() + at, sum);
        Block<Element> block;
        encode<Element>(sum, block);
        store(block, tile_.get() + at);
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
        segment_row(geometry_, mark, y, row_.get());
        columns = row_.get();
      } else {
        weight = mark.rows[y - mark.window.y0];
      }
      for (std::int64_t i = 0; i < count; i += kBlock) {
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
          raise_each(block, std::min<std::int64_t>(kBlock, count - i), target + (at + i) * stride, stride);
        }
      }
    });
  }

  template <class Target>
  static void raise_each(const Block<Target>& block, std::int64_t count, Target* target,
                         std::int64_t stride) {
    Target values[kBlock];
    store(block, values);
    for (std::int64_t lane = 0; lane < count; ++lane) {
      Target& pixel = target[lane * stride];
      if (pixel < values[lane]) pixel = values[lane];
    }
  }

  void clear_tile() {
    for (std::int64_t i = 0; i < active_count_; ++i) {
      const Mark& mark = marks_[active_[i]];
      if (plan_.channels > 1) {
        Element* channel = tile_.get() + mark.channel;
        for_each_row(mark, [&](std::int64_t, std::int64_t at) {
          const std::int64_t count = mark.window.x1 - mark.window.x0;
          for (std::int64_t x = 0; x < count; ++x) channel[(at + x) * plan_.channels] = Element{};
        });
        continue;
      }
      for_each_block(mark, [this](std::int64_t at) {
        store(Block<Element>{}, tile_.get() + at);
        if (plan_.sums) store(Floats{}, sums_.get() + at);
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
      for (std::int64_t i = 0; i < count; i += kBlock) visit(at + i);
    });
  }

  const HeatmapJob& job_;
  const Plan& plan_;
  const MarkGeometry& geometry_;
  const BlockCopy copy_;
  const std::int64_t mark_count_;
  std::int64_t tile_begin_ = 0;
  std::int64_t tile_end_ = 0;
  std::int64_t active_count_ = 0;
  std::unique_ptr<std::int64_t[]> active_;  // indices of the marks that touch the tile, ascending
  std::unique_ptr<Mark[]> marks_;           // [groups, persons]
  std::unique_ptr<float[]> tables_;         // [groups, persons, columns and rows]
  std::unique_ptr<Element[]> tile_;         // [rows, W, K]
  std::unique_ptr<float[]> row_;            // [W], of a segment
  std::unique_ptr<float[]> group_;          // [rows, W], persons merged; sums only
  std::unique_ptr<float[]> sums_;           // [rows, W]
};

struct Task {
  const HeatmapJob& job;
  const Plan& plan;
  const MarkGeometry& geometry;
  BlockCopy copy;
};

// Renders the units [begin, end); false when out of memory.
template <class Element>
bool render_units(const Task& task, std::int64_t begin, std::int64_t end) {
  UnitRenderer<Element> renderer(task.job, task.plan, task.geometry, task.copy);
  if (!renderer.allocate_buffers()) return false;
  for (std::int64_t unit = begin; unit < end; ++unit) renderer.render(unit);
  return true;
}

using RenderUnits = bool (*)(const Task&, std::int64_t, std::int64_t);

#if defined(__x86_64__)
// `flatten` inlines all of it, so that it is compiled for the wider vectors.
template <class Element>
__attribute__((target("avx2"), flatten)) bool render_units_avx2(const Task& task, std::int64_t begin,
                                                                std::int64_t end) {
  return render_units<Element>(task, begin, end);
}

template <class Element>
RenderUnits widest_render_units() {
  return __builtin_cpu_supports("avx2") ? render_units_avx2<Element> : render_units<Element>;
}
#else
template <class Element>
RenderUnits widest_render_units() {
  return render_units<Element>;
}
#endif

template <class Element>
RenderStatus render(const HeatmapJob& job) {
  const Plan plan = make_plan(job, sizeof(Element));
  const MarkGeometry geometry(job.maps.height, job.maps.width, job.maps.sigma);
  const std::int64_t unit_bytes =
      job.maps.height * job.maps.width * plan.channels * static_cast<std::int64_t>(sizeof(Element));
  const std::int64_t bytes = unit_bytes * plan.units;
  if (bytes == 0) return RenderStatus::kOk;
  const bool streaming = bytes > kStreamingBytes;
  const Task task{job, plan, geometry, streaming ? streaming_copy() : cached_copy()};
  const RenderUnits render_range = widest_render_units<Element>();
  const std::int64_t range_bytes =
      std::clamp(bytes / (4 * std::max(1, job.threads)), kSmallestRangeBytes, kLargestRangeBytes);
  std::atomic<bool> out_of_memory{false};
  parallel_for(plan.units, job.threads, range_bytes / unit_bytes, [&](std::int64_t begin, std::int64_t end) {
    if (!render_range(task, begin, end)) out_of_memory = true;
    if (streaming) finish_streaming();
  });
  return out_of_memory ? RenderStatus::kOutOfMemory : RenderStatus::kOk;
}

}  // namespace

RenderStatus render_heatmaps(const HeatmapJob& job) noexcept {
  assert(job.maps.height > 0 && job.maps.width > 0 && job.maps.sigma > 0);
  try {
    switch (job.element) {
      case ElementType::kFloat32:
        return render<float>(job);
      case ElementType::kFloat16:
        return render<Float16>(job);
      case ElementType::kBFloat16:
        return render<BFloat16>(job);
    }
  } catch (const std::bad_alloc&) {  // from the thread pool
  }
  return RenderStatus::kOutOfMemory;
}

}  // namespace fastpose
