#include "heatmap/heatmap_gradient.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cassert>
#include <cmath>
#include <cstddef>
#include <new>
#include <vector>

#include "base/thread_pool.hpp"
#include "heatmap/frame_marks.hpp"

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

// Works frame by frame with one thread's memory.
template <class Element>
class FrameGradient {
 public:
  explicit FrameGradient(const HeatmapGradientJob& job)
      : job_(job),
        maps_(job.maps),
        marks_(job.maps),
        row_(static_cast<std::size_t>(maps_.width + kBlock)),
        sums_(static_cast<std::size_t>(maps_.persons * maps_.joints)) {}

  void differentiate(std::int64_t unit) {
    clip_ = unit / maps_.frames;
    frame_ = unit % maps_.frames;
    std::fill(sums_.begin(), sums_.end(), JointSums{});
    marks_.place(clip_, frame_);
    for (std::size_t i = 0; i < marks_.marks().size(); ++i) gather(static_cast<std::int64_t>(i));
    write();
  }

 private:
  void gather(std::int64_t self) {
    const Mark& mark = marks_.marks()[static_cast<std::size_t>(self)];
    const std::int64_t person = self % maps_.persons;
    const float* pose = maps_.keypoints + maps_.pose_offset(clip_, person, frame_);
    const Limb limb = maps_.mode == HeatmapMode::kLimb ? maps_.limbs[static_cast<std::size_t>(mark.group)]
                                                       : Limb{mark.group, mark.group};
    const auto* gradient = static_cast<const Element*>(job_.gradient) + clip_ * job_.strides[0] +
                           mark.channel * job_.strides[1] + frame_ * job_.strides[2];
    RowSums sums;
    for (std::int64_t y = mark.window.y0; y < mark.window.y1; ++y) {
      marks_.winning_row(self, y, row_.data());
      for (std::int64_t x = mark.window.x0; x < mark.window.x1; ++x) {
        const float value = row_[static_cast<std::size_t>(x - mark.window.x0)];
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
    JointSums* joints = sums_.data() + person * maps_.joints;
    joints[limb.a].x += sums.a_x;
    joints[limb.a].y += sums.a_y;
    if (!mark.is_segment) {
      if (sums.weight != 0.0) joints[limb.a].score += sums.weight / double{pose[limb.a * 3 + 2]};
      return;
    }
    joints[limb.b].x += sums.b_x;
    joints[limb.b].y += sums.b_y;
    const float a_score = pose[limb.a * 3 + 2], b_score = pose[limb.b * 3 + 2];
    const double of_a = a_score < b_score ? 1.0 : a_score == b_score ? 0.5 : 0.0;
    joints[limb.a].score += of_a * sums.weight / double{mark.segment.peak};
    joints[limb.b].score += (1.0 - of_a) * sums.weight / double{mark.segment.peak};
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
      float* result = job_.result + maps_.pose_offset(clip_, person, frame_);
      for (std::int64_t joint = 0; joint < maps_.joints; ++joint, result += 3) {
        const JointSums& sums = sums_[static_cast<std::size_t>(person * maps_.joints + joint)];
        result[0] = static_cast<float>(sums.x * inverse_variance);
        result[1] = static_cast<float>(sums.y * inverse_variance);
        result[2] = static_cast<float>(sums.score);
      }
    }
  }

  const HeatmapGradientJob& job_;
  const PoseMaps& maps_;
  FrameMarks marks_;
  std::vector<float> row_;       // [W], values of a mark
  std::vector<JointSums> sums_;  // [persons, joints]
  std::int64_t clip_ = 0;
  std::int64_t frame_ = 0;
};

template <class Element>
RenderStatus differentiate(const HeatmapGradientJob& job) {
  std::atomic<bool> out_of_memory{false};
  constexpr std::int64_t kFramesPerRange = 16;
  parallel_for(job.maps.batch * job.maps.frames, job.threads, kFramesPerRange,
               [&](std::int64_t begin, std::int64_t end) {
                 try {
                   FrameGradient<Element> frame(job);
                   for (std::int64_t unit = begin; unit < end; ++unit) frame.differentiate(unit);
                 } catch (const std::bad_alloc&) {
                   out_of_memory = true;
                 }
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
