// How much a clip moves, and the share of the frame that noise of strength 1 therefore has.
#pragma once

#include <cstdint>

namespace fastpose {

// D = Σ_t Σ_v ‖p[t+1, v] − p[t, v]‖ in pixels over all frames of one person; a step counts only if the joint
// is present in both frames. keypoints [num_frames, num_joints, 2], scores [num_frames, num_joints]; summed
// in double, in order.
double total_difference(const float* keypoints, const float* scores, std::int64_t num_frames,
                        std::int64_t num_joints);

// D of the first person of each clip: clip i starts at row offsets[i] of keypoints [rows, num_joints, 2] and
// scores [rows, num_joints] with num_frames[i] rows. On `threads` threads, the result independent of them.
void total_differences(const float* keypoints, const float* scores, const std::int64_t* offsets,
                       const std::int32_t* num_frames, std::int64_t num_clips, std::int64_t num_joints,
                       int threads, double* result);

// c = clip(sqrt(D' / 10000), 0.2, 1), where D' is D as 1920×1080 video would have it.
double noise_coefficient(double total_difference, double height, double width);

}  // namespace fastpose
