// Smoothing of keypoints over time, each joint by as much as its noise asks for.
#pragma once

#include <cstdint>

namespace fastpose {

// Tracks lie end to end in keypoints [rows, num_joints, axes], `axes` 2 or 3, and present [rows, num_joints];
// track i is rows begins[i]..begins[i + 1], one person in all frames of a clip. Writes to `smoothed`, of the
// shape of keypoints, what fastpose/data/denoising/smoothing.py defines: of Gaussian smoothers over time, and
// zero where keypoints are the `remainder` of an estimate, that of least estimated risk (Stein), joint by
// joint; missing joints as they are. Bitwise identical for any `threads`. Throws std::bad_alloc.
void smooth_tracks(const float* keypoints, const bool* present, const std::int64_t* begins,
                   std::int64_t num_tracks, std::int64_t num_joints, std::int64_t axes, bool remainder,
                   int threads, float* smoothed);

}  // namespace fastpose
