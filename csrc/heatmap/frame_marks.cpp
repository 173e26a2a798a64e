#include "heatmap/frame_marks.hpp"

#include <algorithm>
#include <cstddef>

#include "base/instructions.hpp"

namespace fastpose {

FrameMarks::FrameMarks(const PoseMaps& maps, std::int64_t parts)
    : maps_(maps),
      geometry_(maps.height, maps.width, maps.sigma),
      marks_(static_cast<std::size_t>(parts * maps.persons)),
      tables_(marks_.size() * static_cast<std::size_t>(geometry_.column_capacity + geometry_.row_capacity)),
      rival_(static_cast<std::size_t>(maps.width + kLanes)) {
  float* table = tables_.data();
  std::int64_t index = 0;
  for (Mark& mark : marks_) {
    mark.group = index++ / maps.persons;
    mark.channel = maps.is_grayscale() ? 0 : mark.group;
    mark.columns = table;
    mark.rows = table + geometry_.column_capacity;
    table = mark.rows + geometry_.row_capacity;
  }
}

struct FrameMarks::Placing {
  FrameMarks& all;
  std::int64_t clip, frame, first_part;

  template <class Target>
  void run() {
    const PoseMaps& maps = all.maps_;
    for (std::int64_t person = 0; person < maps.persons; ++person) {
      const float* pose = maps.keypoints + maps.pose_offset(clip, person, frame);
      for (std::int64_t i = person; i < std::ssize(all.marks_); i += maps.persons) {
        Mark& mark = all.marks_[static_cast<std::size_t>(i)];
        const std::int64_t part = first_part + mark.group;
        if (maps.mode == HeatmapMode::kLimb) {
          const Limb limb = maps.limbs[static_cast<std::size_t>(part)];
          place_limb(all.geometry_, pose + limb.a * 3, pose + limb.b * 3, mark);
        } else {
          place_joint(all.geometry_, pose + part * 3, mark);
        }
      }
    }
  }
};

void FrameMarks::place(std::int64_t clip, std::int64_t frame, std::int64_t first_part) {
  Placing placing{*this, clip, frame, first_part};
  run_on_best_target<Avx2Target>(placing);
}

template <class Visit>
void FrameMarks::for_each_rival(std::int64_t index, Visit visit) const {
  const bool all = maps_.mode == HeatmapMode::kGrayscaleMax;
  const std::int64_t first = all ? 0 : index / maps_.persons * maps_.persons;
  const std::int64_t end = all ? static_cast<std::int64_t>(marks_.size()) : first + maps_.persons;
  const Window& window = marks_[static_cast<std::size_t>(index)].window;
  for (std::int64_t i = first; i < end; ++i) {
    const Window& rival = marks_[static_cast<std::size_t>(i)].window;
    const bool meets =
        window.x0 < rival.x1 && rival.x0 < window.x1 && window.y0 < rival.y1 && rival.y0 < window.y1;
    if (i != index && meets) visit(i);
  }
}

bool FrameMarks::has_rivals(std::int64_t index) const {
  bool found = false;
  for_each_rival(index, [&](std::int64_t) { found = true; });
  return found;
}

void FrameMarks::winning_row(std::int64_t index, std::int64_t y, float* values) {
  const Mark& mark = marks_[static_cast<std::size_t>(index)];
  row_values(mark, y, values);
  for_each_rival(index, [&](std::int64_t i) {
    const Mark& rival = marks_[static_cast<std::size_t>(i)];
    if (y < rival.window.y0 || y >= rival.window.y1) return;
    row_values(rival, y, rival_.data());
    const std::int64_t x0 = std::max(mark.window.x0, rival.window.x0);
    const std::int64_t x1 = std::min(mark.window.x1, rival.window.x1);
    for (std::int64_t x = x0; x < x1; ++x) {
      float& own = values[x - mark.window.x0];
      const float other = rival_[static_cast<std::size_t>(x - rival.window.x0)];
      if (i < index ? other >= own : other > own) own = 0.0f;
    }
  });
}

void FrameMarks::row_values(const Mark& mark, std::int64_t y, float* values) const {
  if (mark.is_segment) {
    segment_row(geometry_, mark, y, values);
    return;
  }
  const float weight = mark.rows[y - mark.window.y0];
  for (std::int64_t i = 0; i < mark.window.x1 - mark.window.x0; ++i) values[i] = weight * mark.columns[i];
}

}  // namespace fastpose
