// The marks of all persons in one frame, and who of them gives a pixel its value: for the renderer, its
// gradient and the stem.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <span>
#include <vector>

#include "base/line_vector.hpp"
#include "heatmap/heatmap_marks.hpp"
#include "heatmap/pose_maps.hpp"

namespace fastpose {

// Holds one frame at a time, with one thread's memory. The constructor may throw std::bad_alloc.
class FrameMarks {
 public:
  // Of `parts` joints or limbs that follow one another.
  FrameMarks(const PoseMaps& maps, std::int64_t parts);
  FrameMarks(const FrameMarks&) = delete;
  FrameMarks& operator=(const FrameMarks&) = delete;

  // By the best set of instructions.
  void place(std::int64_t clip, std::int64_t frame, std::int64_t first_part);
  // By the caller's, into which it is inlined: for a file that rounds as frame_marks.cpp does.
  [[gnu::always_inline]] void place_here(std::int64_t clip, std::int64_t frame, std::int64_t first_part);

  const MarkGeometry& geometry() const { return geometry_; }
  // [parts, persons]; those that draw nothing have empty windows.
  std::span<const Mark> marks() const { return marks_; }

  // Whether another mark may outdo this one at a pixel: the same part of another person, and any other mark
  // where joints merge by maximum.
  bool has_rivals(std::int64_t index) const;

  // The mark's values of row y for its x0..x1, 0 where it is outdone; of equal values the first mark's
  // counts. The memory holds W + kLanes values.
  void winning_row(std::int64_t index, std::int64_t y, float* values);

 private:
  void row_values(const Mark& mark, std::int64_t y, float* values) const;

  template <class Visit>
  void for_each_rival(std::int64_t index, Visit visit) const;

  const PoseMaps maps_;
  const MarkGeometry geometry_;
  std::vector<Mark> marks_;
  LineVector<float> tables_;  // of each mark, columns and rows
  LineVector<float> rival_;   // [W], values of a row
};

// Inline too, so that a caller's compiler sees that nobody else changes the marks.
inline FrameMarks::FrameMarks(const PoseMaps& maps, std::int64_t parts)
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

inline void FrameMarks::place_here(std::int64_t clip, std::int64_t frame, std::int64_t first_part) {
  const std::int64_t parts = std::ssize(marks_) / std::max<std::int64_t>(maps_.persons, 1);
  for (std::int64_t person = 0; person < maps_.persons; ++person) {
    const float* pose = maps_.keypoints + maps_.pose_offset(clip, person, frame);
    Mark* mark = marks_.data() + person;
    for (std::int64_t part = first_part; part < first_part + parts; ++part, mark += maps_.persons) {
      if (maps_.mode == HeatmapMode::kLimb) {
        const Limb limb = maps_.limbs[static_cast<std::size_t>(part)];
        place_limb(geometry_, pose + limb.a * 3, pose + limb.b * 3, *mark);
      } else {
        place_joint(geometry_, pose + part * 3, *mark);
      }
    }
  }
}

}  // namespace fastpose
