// The marks of all persons in one frame, and who of them gives a pixel its value.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "heatmap/heatmap_marks.hpp"
#include "heatmap/pose_maps.hpp"

namespace fastpose {

// Holds one frame at a time, with one thread's memory. The constructor may throw std::bad_alloc.
class FrameMarks {
 public:
  explicit FrameMarks(const PoseMaps& maps);
  FrameMarks(const FrameMarks&) = delete;
  FrameMarks& operator=(const FrameMarks&) = delete;

  void place(std::int64_t clip, std::int64_t frame);

  // [parts, persons]; those that draw nothing have empty windows.
  std::span<const Mark> marks() const { return marks_; }

  // Whether another mark may outdo this one at a pixel: the same part of another person, and any other mark
  // where joints merge by maximum.
  bool has_rivals(std::int64_t index) const;

  // The mark's values of row y for its x0..x1, 0 where it is outdone; of equal values the first mark's
  // counts. The memory holds W + kBlock values.
  void winning_row(std::int64_t index, std::int64_t y, float* values);

 private:
  void row_values(const Mark& mark, std::int64_t y, float* values) const;

  template <class Visit>
  void for_each_rival(std::int64_t index, Visit visit) const;

  const PoseMaps maps_;
  const MarkGeometry geometry_;
  std::vector<Mark> marks_;
  std::vector<float> tables_;  // of each mark, columns and rows
  std::vector<float> rival_;   // [W], values of a row
};

}  // namespace fastpose
