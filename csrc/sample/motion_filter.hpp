// Persons' tracks without their noise, by what clean clips say of body motion. The definition is
// fastpose/data/sampling/front_end.py.
#pragma once

#include <cstdint>
#include <vector>

namespace fastpose {

inline constexpr std::int64_t kFrequencies = 16;  // K cosines

// fastpose/data/sampling/motion_filter.py, in memory of the caller's. C = num_joints · 2 coordinates.
struct MotionPriorView {
  std::int64_t clip_len, num_joints, num_directions;
  const float* mean;        // [C, K]
  const float* directions;  // [C, K, R]
  const float* variances;   // [R]
  const float* left_out;    // [2]: of a coefficient outside the directions, of a frame outside the cosines
  const float* joint_variances;   // [K, C]
  const float* joint_directions;  // [K, C, C]
  const float* learned;           // [num_joints] 1 for joints that were seen in training at all
  const float* cosines;           // [K, clip_len]
};

// What filtering a track needs for a while.
struct FilterMemory {
  std::vector<float> scaled, known, filled, filtered, coefficients, surprise, along, gains, waves;
  std::vector<double> seen, fits;
};

// A person's joints in the sampled frames, and what is known of them.
struct Track {
  float* joints;        // [clip_len, num_joints, 3], x and y in pixels, filtered in place
  const float* counts;  // [clip_len, num_joints] frames behind each, 0 where it is missing
  double center[2];     // of all of the person's joints, pixels
  double variance[2];
  double white[2];             // variance of white noise, pixels²
  const std::int32_t* begins;  // [clip_len] the frames behind each,
  const std::int32_t* ends;    // [clip_len]
  std::int64_t num_frames;     // of the clip
};

struct ToldNoise {
  double white, drift;  // variances, pixels²
};

class MotionFilter {
 public:
  // Copies what it needs. Throws std::bad_alloc.
  MotionFilter(const MotionPriorView& prior, bool tells_drift);

  bool tells_drift() const { return tells_drift_; }

  // Whether the joint was seen in training at all; others cannot be filled in.
  bool has_learned(std::int64_t joint) const { return learned_[static_cast<std::size_t>(joint)] > 0.0f; }

  // Filters the track, missing joints filled in, and says what its noise was taken for.
  ToldNoise filter(const Track& track, FilterMemory& memory) const;

 private:
  friend struct TrackFilter;

  bool tells_drift_;
  std::int64_t clip_len_, num_joints_, width_, num_directions_;  // width: 2 · num_joints in whole vectors
  float rest_, above_;
  std::vector<float> mean_;              // [K, width]
  std::vector<float> directions_;        // [K, width, R in whole vectors]
  std::vector<float> variances_;         // [R in whole vectors]
  std::vector<float> joint_variances_;   // [K, width]
  std::vector<float> joint_directions_;  // [K, 2 · num_joints, width]
  std::vector<float> learned_;           // [num_joints]
  std::vector<float> cosines_;           // [K, clip_len]
  std::vector<float> inside_;            // [width] 1 for coordinates, 0 for what fills the vector
};

// How much of a measured variance is not noise.
double own_variance(double variance, double noise);

}  // namespace fastpose
