#include "heatmap/frame_gradient.hpp"

#include <algorithm>
#include <cstddef>

#include "base/number_formats.hpp"

namespace fastpose {
namespace {

// Sums over a mark: of the gradients of both ends' places, and of weights.
struct MarkSums {
  double a_x = 0, a_y = 0, b_x = 0, b_y = 0, weight = 0;
};

// The nearest point of the segment moves with its ends in the shares that it has of them.
void add_segment_pixel(const Segment& segment, double weight, double x, double y, MarkSums& sums) {
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

}  // namespace

FrameGradient::FrameGradient(const PoseMaps& maps)
    : maps_(maps),
      marks_(maps, maps.parts()),
      row_(static_cast<std::size_t>(maps.width + kLanes)),
      sums_(static_cast<std::size_t>(maps.persons * maps.joints)) {}

const FrameMarks& FrameGradient::place(std::int64_t clip, std::int64_t frame) {
  clip_ = clip;
  frame_ = frame;
  marks_.place(clip, frame, 0);
  return marks_;
}

template <class Element>
void FrameGradient::write(const MapGradient<Element>& gradient, float* result) {
  std::fill(sums_.begin(), sums_.end(), JointSums{});
  for (std::size_t i = 0; i < marks_.marks().size(); ++i) gather(static_cast<std::int64_t>(i), gradient);
  const double inverse_variance = 1.0 / (maps_.sigma * maps_.sigma);
  for (std::int64_t person = 0; person < maps_.persons; ++person) {
    float* target = result + maps_.pose_offset(clip_, person, frame_);
    for (std::int64_t joint = 0; joint < maps_.joints; ++joint, target += 3) {
      const JointSums& sums = sums_[static_cast<std::size_t>(person * maps_.joints + joint)];
      target[0] = static_cast<float>(sums.x * inverse_variance);
      target[1] = static_cast<float>(sums.y * inverse_variance);
      target[2] = static_cast<float>(sums.score);
    }
  }
}

template <class Element>
void FrameGradient::gather(std::int64_t index, const MapGradient<Element>& gradient) {
  const Mark& mark = marks_.marks()[static_cast<std::size_t>(index)];
  const std::int64_t person = index % maps_.persons;
  const float* pose = maps_.keypoints + maps_.pose_offset(clip_, person, frame_);
  const Limb limb = maps_.mode == HeatmapMode::kLimb ? maps_.limbs[static_cast<std::size_t>(mark.group)]
                                                     : Limb{mark.group, mark.group};
  const Element* channel = gradient.values + mark.channel * gradient.channel_stride;
  MarkSums sums;
  for (std::int64_t y = mark.window.y0; y < mark.window.y1; ++y) {
    marks_.winning_row(index, y, row_.data());
    for (std::int64_t x = mark.window.x0; x < mark.window.x1; ++x) {
      const float value = row_[static_cast<std::size_t>(x - mark.window.x0)];
      if (value == 0.0f) continue;
      const float slope = widen(channel[y * gradient.row_stride + x * gradient.column_stride]);
      const double weight = double{value} * double{slope};
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

template void FrameGradient::write(const MapGradient<float>&, float*);
template void FrameGradient::write(const MapGradient<Float16>&, float*);
template void FrameGradient::write(const MapGradient<BFloat16>&, float*);

}  // namespace fastpose
