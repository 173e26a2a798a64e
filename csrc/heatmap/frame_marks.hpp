// The marks of all persons in one frame, and who of them gives a pixel its value: for the renderer, its
// gradient and the stem.
#pragma once

#include <cstdint>
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

  void place(std::int64_t clip, std::int64_t frame, std::int64_t first_part);

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
  struct Placing;

  void row_values(const Mark& mark, std::int64_t y, float* values) const;

  template <class Visit>
  void for_each_rival(std::int64_t index, Visit visit) const;

  const PoseMaps maps_;
  const MarkGeometry geometry_;
  std::vector<Mark> marks_;
  LineVector<float> tables_;  // of each mark, columns and rows
  LineVector<float> rival_;   // [W], values of a row
};

}  // namespace fastpose
