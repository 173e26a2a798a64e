#include "sample/total_difference.hpp"

#include <algorithm>
#include <cmath>

#include "base/keypoint.hpp"
#include "base/thread_pool.hpp"

namespace fastpose {

double total_difference(const float* keypoints, const float* scores, std::int64_t num_frames,
                        std::int64_t num_joints) {
  double sum = 0.0;
  const std::int64_t steps = (num_frames - 1) * num_joints;
  for (std::int64_t i = 0; i < steps; ++i) {
    const float* here = keypoints + 2 * i;
    const float* next = here + 2 * num_joints;
    const bool both =
        is_present(here[0], here[1], scores[i]) && is_present(next[0], next[1], scores[i + num_joints]);
    const double dx = double{next[0]} - double{here[0]};
    const double dy = double{next[1]} - double{here[1]};
    if (both) sum += std::sqrt(dx * dx + dy * dy);
  }
  return sum;
}

void total_differences(const float* keypoints, const float* scores, const std::int64_t* offsets,
                       const std::int32_t* num_frames, std::int64_t num_clips, std::int64_t num_joints,
                       int threads, double* result) {
  constexpr std::int64_t kClipsPerRange = 16;
  parallel_for(num_clips, threads, kClipsPerRange, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t first = offsets[i] * num_joints;
      result[i] = total_difference(keypoints + 2 * first, scores + first, num_frames[i], num_joints);
    }
  });
}

double noise_coefficient(double total_difference, double height, double width) {
  const double scale = std::sqrt((1920.0 * 1920.0 + 1080.0 * 1080.0) / (width * width + height * height));
  return std::clamp(std::sqrt(total_difference * scale / 10000.0), 0.2, 1.0);
}

}  // namespace fastpose
