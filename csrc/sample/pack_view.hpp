// Packed clips in memory of the caller's.
#pragma once

#include <algorithm>
#include <cstdint>

namespace fastpose {

// Clip i holds rows offsets[i]..offsets[i + 1], which are [num_persons[i], num_frames[i]], each row one
// person in one frame.
struct PackView {
  std::int64_t num_clips;
  std::int64_t num_joints;
  const float* keypoints;             // [rows, num_joints, 2] pixels
  const float* scores;                // [rows, num_joints], 0 where the joint is missing
  const std::int64_t* offsets;        // [num_clips + 1]
  const std::int32_t* num_persons;    // [num_clips], at least 1
  const std::int32_t* num_frames;     // [num_clips], at least 1
  const std::int32_t* image_sizes;    // [num_clips, 2] (height, width) pixels
  const std::uint64_t* name_hashes;   // [num_clips]
  const double* total_differences;    // [num_clips] pixels
  const std::int64_t* flipped_joint;  // [num_joints] the joint each one becomes in a mirror
  const std::uint8_t* limb_joints;    // [num_joints, num_joints] 1 for the joints of a limb round each joint
};

// Exchanges left and right in a row of joints [num_joints, 3].
inline void exchange_sides(const PackView& pack, float* row) {
  for (std::int64_t v = 0; v < pack.num_joints; ++v) {
    const std::int64_t other = pack.flipped_joint[v];
    if (v < other) std::swap_ranges(row + 3 * v, row + 3 * v + 3, row + 3 * other);
  }
}

}  // namespace fastpose
