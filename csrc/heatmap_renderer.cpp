#include "heatmap_renderer.hpp"

#include <algorithm>
#include <atomic>
#include <cassert>
#include <cstddef>
#include <cstring>
#include <memory>
#include <new>

#include "block_copy.hpp"
#include "float_formats.hpp"
#include "heatmap_marks.hpp"
#include "thread_pool.hpp"

namespace fastpose {
namespace {

constexpr std::int64_t kTileBytes = 16 << 10;       // half of a small L1 cache
constexpr std::int64_t kStreamingBytes = 16 << 20;  // above it the caches would not hold the output anyway
constexpr std::int64_t kSmallestRangeBytes = 64 << 10;
constexpr std::int64_t kLargestRangeBytes = 1 << 20;

// One unit of work owns a contiguous run of the output: [H, W] of one channel, or [H, W, K] of one frame.
// All its groups (one joint or limb each, of all persons) go to channels of that run.
struct Plan {
  std::int64_t groups;  // per unit
  std::int64_t units;
  std::int64_t channels;       // K, per unit
  std::int64_t rows_per_tile;  // a tile is composed in cache, then copied out
  bool merged;                 // grayscale: all groups go to channel 0
};

Plan make_plan(const HeatmapJob& job, std::int64_t element_bytes) {
  const bool grayscale = job.mode == HeatmapMode::kGrayscaleSum || job.mode == HeatmapMode::kGrayscaleMax;
  const std::int64_t parts =
      job.mode == HeatmapMode::kLimbs ? static_cast<std::int64_t>(job.limbs.size()) : job.joints;
  Plan plan{};
  plan.merged = grayscale;
  if (grayscale || job.layout == HeatmapLayout::kChannelsLast) {
    plan.groups = parts;
    plan.units = job.batch * job.frames;
    plan.channels = grayscale ? 1 : parts;
  } else {
    plan.groups = 1;
    plan.units = job.batch * parts * job.frames;
    plan.channels = 1;
  }
  const std::int64_t row_bytes = std::max<std::int64_t>(1, job.width * plan.channels * element_bytes);
  std::int64_t rows = std::clamp<std::int64_t>(kTileBytes / row_bytes, 1, job.height);
  if (rows < job.height && rows >= 4) rows -= rows % 4;  // tiles that start on whole cache lines
  plan.rows_per_tile = rows;
  return plan;
}

template <class T>
std::unique_ptr<T[]> allocate(std::int64_t count) {
  return std::unique_ptr<T[]>(new (std::nothrow) T[static_cast<std::size_t>(count)]());
}

// Renders units one after the other with one thread's buffers. The tile is all zero between tiles.
template <class Element>
class UnitRenderer {
 public:
  UnitRenderer(const HeatmapJob& job, const Plan& plan, const MarkGeometry& geometry, BlockCopy copy)
      : job_(job), plan_(plan), geometry_(geometry), copy_(copy) {}

  bool allocate_buffers() {
    const std::int64_t marks = plan_.groups * job_.persons;
    marks_ = allocate<Mark>(marks);
    tables_ = allocate<float>(marks * (geometry_.column_capacity + geometry_.row_capacity));
    tile_ = allocate<Element>(plan_.rows_per_tile * job_.width * plan_.channels);
    const std::int64_t row = job_.width + 4;
    row_ = allocate<float>(row);
    person_row_ = allocate<float>(row);
    if (plan_.merged) sums_ = allocate<float>(plan_.rows_per_tile * job_.width);
    return marks_ && tables_ && tile_ && row_ && person_row_ && (!plan_.merged || sums_);
  }

  void render(std::int64_t unit) {
    place_marks(unit);
    const std::int64_t row_elements = job_.width * plan_.channels;
    auto* output = static_cast<Element*>(job_.output) + unit * job_.height * row_elements;
    for (std::int64_t y = 0; y < job_.height; y += plan_.rows_per_tile) {
      tile_begin_ = y;
      tile_end_ = std::min(y + plan_.rows_per_tile, job_.height);
      for (std::int64_t group = 0; group < plan_.groups; ++group) paint_group(group);
      if (plan_.merged) for_each_span([this](std::int64_t at, std::int64_t n) { convert(at, n); });
      copy_(reinterpret_cast<std::byte*>(output + y * row_elements),
            reinterpret_cast<const std::byte*>(tile_.get()),
            static_cast<std::size_t>((tile_end_ - y) * row_elements) * sizeof(Element));
      clear_tile();
    }
  }

 private:
  // [B, M, T, V, 3] -> the marks [group, person] of this unit.
  void place_marks(std::int64_t unit) {
    const std::int64_t frame = unit % job_.frames;
    std::int64_t first_group = 0;
    std::int64_t clip = unit / job_.frames;
    if (job_.layout == HeatmapLayout::kContiguous && !plan_.merged) {
      const std::int64_t parts = plan_.units / (job_.batch * job_.frames);
      first_group = clip % parts;
      clip /= parts;
    }
    float* table = tables_.get();
    Mark* mark = marks_.get();
    for (std::int64_t group = first_group; group < first_group + plan_.groups; ++group) {
      for (std::int64_t person = 0; person < job_.persons; ++person, ++mark) {
        const float* pose =
            job_.keypoints + ((clip * job_.persons + person) * job_.frames + frame) * job_.joints * 3;
        float* columns = table;
        float* rows = table + geometry_.column_capacity;
        table = rows + geometry_.row_capacity;
        if (job_.mode == HeatmapMode::kLimbs) {
          const Limb limb = job_.limbs[static_cast<std::size_t>(group)];
          place_limb(geometry_, pose + limb.a * 3, pose + limb.b * 3, columns, rows, *mark);
        } else {
          place_joint(geometry_, pose + group * 3, columns, rows, *mark);
        }
      }
    }
  }

  // Persons are merged by maximum in float, so that each channel of a pixel is stored once.
  void paint_group(std::int64_t group) {
    const Mark* marks = marks_.get() + group * job_.persons;
    std::int64_t x0 = job_.width, x1 = 0, y0 = tile_end_, y1 = tile_begin_;
    const Mark* only = nullptr;
    int visible = 0;
    for (std::int64_t person = 0; person < job_.persons; ++person) {
      const Mark& mark = marks[person];
      if (mark.empty() || mark.y0 >= tile_end_ || mark.y1 <= tile_begin_) continue;
      ++visible;
      only = &mark;
      x0 = std::min(x0, mark.x0);
      x1 = std::max(x1, mark.x1);
      y0 = std::min(y0, std::max(mark.y0, tile_begin_));
      y1 = std::max(y1, std::min(mark.y1, tile_end_));
    }
    if (visible == 0) return;
    for (std::int64_t y = y0; y < y1; ++y) {
      if (visible == 1) {
        fill_row(*only, y, row_.get());
      } else {
        std::fill_n(row_.get(), x1 - x0, 0.0f);
        for (std::int64_t person = 0; person < job_.persons; ++person) {
          const Mark& mark = marks[person];
          if (y < mark.y0 || y >= mark.y1 || mark.empty()) continue;
          fill_row(mark, y, person_row_.get());
          float* target = row_.get() + (mark.x0 - x0);
          for (std::int64_t i = 0; i < mark.x1 - mark.x0; ++i) {
            target[i] = std::max(target[i], person_row_[i]);
          }
        }
      }
      store_row(group, y, x0, x1 - x0);
    }
  }

  void fill_row(const Mark& mark, std::int64_t y, float* values) const {
    if (mark.is_segment) {
      segment_row(geometry_, mark, y, values);
      return;
    }
    const float weight = mark.rows[y - mark.y0];
    for (std::int64_t i = 0; i < mark.x1 - mark.x0; ++i) values[i] = weight * mark.columns[i];
  }

  void store_row(std::int64_t group, std::int64_t y, std::int64_t x0, std::int64_t count) {
    const std::int64_t at = (y - tile_begin_) * job_.width + x0;
    if (job_.mode == HeatmapMode::kGrayscaleSum) {
      for (std::int64_t i = 0; i < count; ++i) sums_[at + i] += row_[i];
    } else if (job_.mode == HeatmapMode::kGrayscaleMax) {
      for (std::int64_t i = 0; i < count; ++i) sums_[at + i] = std::max(sums_[at + i], row_[i]);
    } else if (plan_.channels == 1) {
      for (std::int64_t i = 0; i < count; ++i) tile_[at + i] = from_float<Element>(row_[i]);
    } else {
      Element* target = tile_.get() + at * plan_.channels + group;
      for (std::int64_t i = 0; i < count; ++i) target[i * plan_.channels] = from_float<Element>(row_[i]);
    }
  }

  void convert(std::int64_t at, std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i) tile_[at + i] = from_float<Element>(sums_[at + i]);
  }

  void clear_tile() {
    if (plan_.channels > 1) {
      // Marks touch few pixels but spread over as many lines as plain clearing.
      clear_interleaved();
      return;
    }
    for_each_span([this](std::int64_t at, std::int64_t n) {
      std::fill_n(tile_.get() + at, n, Element{});
      if (plan_.merged) std::fill_n(sums_.get() + at, n, 0.0f);
    });
  }

  void clear_interleaved() {
    for (std::int64_t group = 0; group < plan_.groups; ++group) {
      for (std::int64_t person = 0; person < job_.persons; ++person) {
        const Mark& mark = marks_[group * job_.persons + person];
        for (std::int64_t y = std::max(mark.y0, tile_begin_); y < std::min(mark.y1, tile_end_); ++y) {
          Element* target = tile_.get() + ((y - tile_begin_) * job_.width + mark.x0) * plan_.channels + group;
          for (std::int64_t i = 0; i < mark.x1 - mark.x0; ++i) target[i * plan_.channels] = Element{};
        }
      }
    }
  }

  // Calls span(first pixel in the tile, count) for each row of each mark in the tile.
  template <class Span>
  void for_each_span(Span span) {
    for (std::int64_t index = 0; index < plan_.groups * job_.persons; ++index) {
      const Mark& mark = marks_[index];
      if (mark.empty()) continue;
      for (std::int64_t y = std::max(mark.y0, tile_begin_); y < std::min(mark.y1, tile_end_); ++y) {
        span((y - tile_begin_) * job_.width + mark.x0, mark.x1 - mark.x0);
      }
    }
  }

  const HeatmapJob& job_;
  const Plan& plan_;
  const MarkGeometry& geometry_;
  const BlockCopy copy_;
  std::int64_t tile_begin_ = 0;
  std::int64_t tile_end_ = 0;
  std::unique_ptr<Mark[]> marks_;        // [groups, persons]
  std::unique_ptr<float[]> tables_;      // [groups, persons, columns and rows]
  std::unique_ptr<Element[]> tile_;      // [rows, W, K]
  std::unique_ptr<float[]> sums_;        // [rows, W], grayscale
  std::unique_ptr<float[]> row_;         // one row of a group
  std::unique_ptr<float[]> person_row_;  // one row of one person
};

template <class Element>
RenderStatus render(const HeatmapJob& job) {
  const Plan plan = make_plan(job, sizeof(Element));
  const MarkGeometry geometry(job.height, job.width, job.sigma);
  const std::int64_t unit_bytes =
      job.height * job.width * plan.channels * static_cast<std::int64_t>(sizeof(Element));
  const std::int64_t bytes = unit_bytes * plan.units;
  if (bytes == 0) return RenderStatus::kOk;
  const bool streaming = bytes > kStreamingBytes;
  const BlockCopy copy = streaming ? streaming_copy() : cached_copy();
  const std::int64_t range_bytes =
      std::clamp(bytes / (4 * std::max(1, job.threads)), kSmallestRangeBytes, kLargestRangeBytes);
  std::atomic<bool> out_of_memory{false};
  parallel_for(plan.units, job.threads, range_bytes / unit_bytes, [&](std::int64_t begin, std::int64_t end) {
    UnitRenderer<Element> renderer(job, plan, geometry, copy);
    if (!renderer.allocate_buffers()) {
      out_of_memory = true;
      return;
    }
    for (std::int64_t unit = begin; unit < end; ++unit) renderer.render(unit);
    if (streaming) finish_streaming();
  });
  return out_of_memory ? RenderStatus::kOutOfMemory : RenderStatus::kOk;
}

}  // namespace

RenderStatus render_heatmaps(const HeatmapJob& job) noexcept {
  assert(job.height > 0 && job.width > 0 && job.sigma > 0);
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
