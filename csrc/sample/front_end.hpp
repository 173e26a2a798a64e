// All frames of a clip → mean frames, the noise they hold, and persons without most of it. The definition is
// fastpose/data/sampling/front_end.py, whose names are used here.
#pragma once

#include <cstdint>
#include <vector>

#include "sample/motion_filter.hpp"

namespace fastpose {

struct SeenClip {
  double white, drift;        // variances of the noise, pixels²
  double center_x, center_y;  // mean of all joints, pixels
  double deviation;           // of the joints from it, along the axis where it is larger, less the noise
};

// Frames [begins[i], ends[i]) of a clip behind each of `count` sampled ones.
struct FrameParts {
  std::vector<std::int32_t> begins, ends;
};

// What the clips of a range share.
struct FrontEndMemory {
  std::vector<float> counts;
  FilterMemory filter;
};

// Writes to out [persons, T, num_joints, 3] the mean frames of joints [persons, frames, num_joints, 3] (x, y
// in pixels and score, all 0 where missing), filtered by `filter` where there is one, and to presence
// [persons, T, num_joints] the share of the frames behind each in which the joint was seen. Throws
// std::bad_alloc.
SeenClip see_clip(const float* joints, std::int64_t persons, std::int64_t frames, std::int64_t num_joints,
                  const FrameParts& parts, const MotionFilter* filter, FrontEndMemory& memory, float* out,
                  float* presence);

// The parts by the rule "means": equal parts of a clip, rounded outwards; or, where `drawn` is not null, of a
// random stretch of it that is at least the share `window`, with edges moved by up to 0.4 of a part. `drawn`
// holds count + 1 uniform numbers: of the stretch's length, of its place, and of the edges. Writes to
// `middles` the frame in the middle of each part.
void choose_parts(std::int64_t frames, std::int64_t count, const float* drawn, double window,
                  FrameParts& parts, std::int32_t* middles);

}  // namespace fastpose
