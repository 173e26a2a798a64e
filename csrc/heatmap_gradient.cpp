#include "heatmap_gradient.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cassert>
#include <cmath>
#include <cstddef>
#include <memory>
#include <new>

#include "heatmap_marks.hpp"
#include "thread_pool.hpp"

namespace fastpose {
namespace {

inline float decode(float value) {
  return value;
}

inline float decode(BFloat16 value) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(static_cast<std::uint16_t>(value.bits)) << 16);
}

inline float decode(Float16 value) {
  const auto bits = static_cast<std::uint16_t>(value.bits);
  const std::uint32_t sign = (bits & 0x8000u) << 16;
  const std::uint32_t magnitude = bits & 0x7FFFu;
  if (magnitude >= 0x7C00u)  // infinity and NaN
    return std::bit_cast<float>(sign | 0x7F800000u | (magnitude & 0x3FFu) << 13);
  // Rebased by a multiplication, which also serves subnormals.
  const float scaled = std::bit_cast<float>(magnitude << 13) * 0x1p112f;
  return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(scaled));
}

// Sums of one joint: of weight·(pixel - joint) in x and y, and of d(loss)/d(score).
struct JointSums {
  double x = 0, y = 0, score = 0;
};

struct RowSums {
  double a_x = 0, a_y = 0, b_x = 0, b_y = 0, weight = 0;
};

// Works frame by frame with one thread's buffers.
template <class Element>
class FrameGradient {
 public:
  FrameGradient(const HeatmapGradientJob& job, const MarkGeometry& geometry)
      : job_(job),
        maps_(job.maps),
        geometry_(geometry),
        limbs_(maps_.mode == HeatmapMode::kLimbs),
        grayscale_(maps_.mode == HeatmapMode::kGrayscaleSum || maps_.mode == HeatmapMode::kGrayscaleMax),
        parts_(limbs_ ? static_cast<std::int64_t>(maps_.limbs.size()) : maps_.joints),
        mark_count_(parts_ * maps_.persons) {}

  bool allocate_buffers() {
    const std::int64_t table = geometry_.column_capacity + geometry_.row_capacity;
    marks_.reset(new (std::nothrow) Mark[static_cast<std::size_t>(mark_count_)]);
    tables_ = allocate<float>(mark_count_ * table);
    own_ = allocate<float>(maps_.width + kBlock);
    other_ = allocate<float>(maps_.width + kBlock);
    sums_ = allocate<JointSums>(maps_.persons * maps_.joints);
    if (!marks_ || !tables_ || !own_ || !other_ || !sums_) return false;
    for (std::int64_t i = 0; i < mark_count_; ++i) {
      marks_[i].group = i / maps_.persons;
      marks_[i].channel = grayscale_ ? 0 : marks_[i].group;
      marks_[i].columns = tables_.get() + i * table;
      marks_[i].rows = marks_[i].columns + geometry_.column_capacity;
    }
    return true;
  }

  void differentiate(std::int64_t unit) {
    clip_ = unit / maps_.frames;
    frame_ = unit % maps_.frames;
    std::fill_n(sums_.get(), maps_.persons * maps_.joints, JointSums{});
    place_marks();
    for (std::int64_t i = 0; i < mark_count_; ++i) gather(i);
    write();
  }

 private:
  template <class T>
  static std::unique_ptr<T[]> allocate(std::int64_t count) {
    return std::unique_ptr<T[]>(new (std::nothrow) T[static_cast<std::size_t>(count)]());
  }

  std::int64_t pose_offset(std::int64_t person) const {
    return ((clip_ * maps_.persons + person) * maps_.frames + frame_) * maps_.joints * 3;
  }

  void place_marks() {
    for (std::int64_t i = 0; i < mark_count_; ++i) {
      const float* pose = maps_.keypoints + pose_offset(i % maps_.persons);
      const std::int64_t part = i / maps_.persons;
      if (limbs_) {
        const Limb limb = maps_.limbs[static_cast<std::size_t>(part)];
        place_limb(geometry_, pose + limb.a * 3, pose + limb.b * 3, marks_[i]);
      } else {
        place_joint(geometry_, pose + part * 3, marks_[i]);
      }
    }
  }

  // The mark's values of row y for its x0..x1, in `row`.
  void row_values(const Mark& mark, std::int64_t y, float* row) const {
    if (mark.is_segment) {
      segment_row(geometry_, mark, y, row);
      return;
    }
    const float weight = mark.rows[y - mark.window.y0];
    for (std::int64_t i = 0; i < mark.window.x1 - mark.window.x0; ++i) row[i] = weight * mark.columns[i];
  }

  // Zeros the values of own_ that another mark of [first, end) has outdone.
  void drop_losses(std::int64_t self, std::int64_t first, std::int64_t end, std::int64_t y) {
    const Window& window = marks_[self].window;
    for (std::int64_t i = first; i < end; ++i) {
      const Window& rival = marks_[i].window;
      const std::int64_t x0 = std::max(window.x0, rival.x0), x1 = std::min(window.x1, rival.x1);
      if (i == self || y < rival.y0 || y >= rival.y1 || x0 >= x1) continue;
      row_values(marks_[i], y, other_.get());
      for (std::int64_t x = x0; x < x1; ++x) {
        float& own = own_[x - window.x0];
        const float other = other_[x - rival.x0];
        if (i < self ? other >= own : other > own) own = 0.0f;
      }
    }
  }

  void gather(std::int64_t self) {
    const Mark& mark = marks_[self];
    const bool all_compete = maps_.mode == HeatmapMode::kGrayscaleMax;
    const std::int64_t first = all_compete ? 0 : mark.group * maps_.persons;
    const std::int64_t end = all_compete ? mark_count_ : first + maps_.persons;
    const float* pose = maps_.keypoints + pose_offset(self % maps_.persons);
    const Limb limb =
        limbs_ ? maps_.limbs[static_cast<std::size_t>(mark.group)] : Limb{mark.group, mark.group};
    const auto* gradient = static_cast<const Element*>(job_.gradient) + clip_ * job_.strides[0] +
                           mark.channel * job_.strides[1] + frame_ * job_.strides[2];
    RowSums sums;
    for (std::int64_t y = mark.window.y0; y < mark.window.y1; ++y) {
      row_values(mark, y, own_.get());
      drop_losses(self, first, end, y);
      for (std::int64_t x = mark.window.x0; x < mark.window.x1; ++x) {
        const float value = own_[x - mark.window.x0];
        if (value == 0.0f) continue;
        const double weight =
            double{value} * double{decode(gradient[y * job_.strides[3] + x * job_.strides[4]])};
        if (mark.is_segment) {
          add_segment_pixel(mark.segment, weight, static_cast<double>(x), static_cast<double>(y), sums);
        } else {
          sums.a_x += weight * (static_cast<double>(x) - double{pose[limb.a * 3]});
          sums.a_y += weight * (static_cast<double>(y) - double{pose[limb.a * 3 + 1]});
          sums.weight += weight;
        }
      }
    }
    JointSums* person = sums_.get() + self % maps_.persons * maps_.joints;
    person[limb.a].x += sums.a_x;
    person[limb.a].y += sums.a_y;
    if (!mark.is_segment) {
      if (sums.weight != 0.0) person[limb.a].score += sums.weight / double{pose[limb.a * 3 + 2]};
      return;
    }
    person[limb.b].x += sums.b_x;
    person[limb.b].y += sums.b_y;
    const float a_score = pose[limb.a * 3 + 2], b_score = pose[limb.b * 3 + 2];
    const double of_a = a_score < b_score ? 1.0 : a_score == b_score ? 0.5 : 0.0;
    person[limb.a].score += of_a * sums.weight / double{mark.segment.peak};
    person[limb.b].score += (1.0 - of_a) * sums.weight / double{mark.segment.peak};
  }

  // The nearest point of the segment moves with its ends in the shares that it has of them.
  static void add_segment_pixel(const Segment& segment, double weight, double x, double y, RowSums& sums) {
    const double from_x = x - segment.ax, from_y = y - segment.ay;
    const double along = segment.ux * from_x + segment.uy * from_y;
    const double nearest = std::clamp(along, 0.0, segment.length);
    const double to_b = nearest / segment.length;
    const double away_x = weight * (from_x - nearest * segment.ux);
    const double away_y = weight * (from_y - nearest * segment.uy);
    sums.a_x += (1.0 - to_b) * away_x;
    sums.a_y += (1.0 - to_b) * away_y;
    sums.b_x += to_b * away_x;
    sums.b_y += to_b * away_y;
    sums.weight += weight;
  }

  void write() const {
    const double inverse_variance = 1.0 / (maps_.sigma * maps_.sigma);
    for (std::int64_t person = 0; person < maps_.persons; ++person) {
      float* result = job_.result + pose_offset(person);
      for (std::int64_t joint = 0; joint < maps_.joints; ++joint, result += 3) {
        const JointSums& sums = sums_[person * maps_.joints + joint];
        result[0] = static_cast<float>(sums.x * inverse_variance);
        result[1] = static_cast<float>(sums.y * inverse_variance);
        result[2] = static_cast<float>(sums.score);
      }
    }
  }

  const HeatmapGradientJob& job_;
  const HeatmapJob& maps_;
  const MarkGeometry& geometry_;
  const bool limbs_;
  const bool grayscale_;
  const std::int64_t parts_;  // joints or limbs of a frame
  const std::int64_t mark_count_;
  std::int64_t clip_ = 0;
  std::int64_t frame_ = 0;
  std::unique_ptr<Mark[]> marks_;      // [parts, persons]
  std::unique_ptr<float[]> tables_;    // [parts, persons, columns and rows]
  std::unique_ptr<float[]> own_;       // [W], values of a row of the mark that gathers
  std::unique_ptr<float[]> other_;     // [W], of a rival
  std::unique_ptr<JointSums[]> sums_;  // [persons, joints]
};

template <class Element>
RenderStatus differentiate(const HeatmapGradientJob& job) {
  const MarkGeometry geometry(job.maps.height, job.maps.width, job.maps.sigma);
  std::atomic<bool> out_of_memory{false};
  constexpr std::int64_t kFramesPerRange = 16;
  parallel_for(job.maps.batch * job.maps.frames, job.maps.threads, kFramesPerRange,
               [&](std::int64_t begin, std::int64_t end) {
                 FrameGradient<Element> frame(job, geometry);
                 if (!frame.allocate_buffers()) {
                   out_of_memory = true;
                   return;
                 }
                 for (std::int64_t unit = begin; unit < end; ++unit) frame.differentiate(unit);
               });
  return out_of_memory ? RenderStatus::kOutOfMemory : RenderStatus::kOk;
}

}  // namespace

RenderStatus render_heatmaps_backward(const HeatmapGradientJob& job) noexcept {
  assert(job.maps.height > 0 && job.maps.width > 0 && job.maps.sigma > 0);
  try {
    switch (job.element) {
      case ElementType::kFloat32:
        return differentiate<float>(job);
      case ElementType::kFloat16:
        return differentiate<Float16>(job);
      case ElementType::kBFloat16:
        return differentiate<BFloat16>(job);
    }
  } catch (const std::bad_alloc&) {  // from the thread pool
  }
  return RenderStatus::kOutOfMemory;
}

}  // namespace fastpose
