// The gradient of one frame's keypoints from that of its maps.
#pragma once

#include <cstdint>
#include <vector>

#include "base/line_vector.hpp"
#include "heatmap/frame_marks.hpp"

namespace fastpose {

// The gradient of a frame's maps [channels, height, width], with strides in elements.
template <class Element>
struct MapGradient {
  const Element* values;
  std::int64_t channel_stride;
  std::int64_t row_stride;
  std::int64_t column_stride;
};

// Works frame by frame with one thread's memory. The constructor may throw std::bad_alloc.
class FrameGradient {
 public:
  explicit FrameGradient(const PoseMaps& maps);

  // Turns to a frame, whose marks it returns.
  const FrameMarks& place(std::int64_t clip, std::int64_t frame);

  // Writes the frame's part of the result [batch, persons, frames, joints, 3]. Reads the maps' gradient only
  // in the windows of the marks. For float, Float16 and BFloat16.
  template <class Element>
  void write(const MapGradient<Element>& gradient, float* result);

 private:
  // Sums of one joint: of weight·(pixel - joint) in x and y, and of d(loss)/d(score).
  struct JointSums {
    double x = 0, y = 0, score = 0;
  };

  template <class Element>
  void gather(std::int64_t index, const MapGradient<Element>& gradient);

  const PoseMaps maps_;
  FrameMarks marks_;
  LineVector<float> row_;        // [W], values of a mark
  std::vector<JointSums> sums_;  // [persons, joints]
  std::int64_t clip_ = 0;
  std::int64_t frame_ = 0;
};

}  // namespace fastpose
