#include "denoise/track_smoother.hpp"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include "base/guarded.hpp"
#include "base/thread_pool.hpp"

namespace fastpose {
namespace {

constexpr std::array kWidths = {0.7, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 9.0, 14.0};  // deviations, frames
constexpr double kReach = 4.0;                                                  // deviations
constexpr std::size_t kMargin = 56;  // frames that the widest one reaches

struct Track {
  const float* keypoints;  // [length, num_joints, axes]
  const bool* present;     // [length, num_joints]
  std::size_t length, num_joints, axes;
};

// A joint's numbers over time, between margins of zeros.
using Series = std::vector<double>;

// The variances of white noise along the axes, summed: from second differences, which hardly see motion.
double noise_variance(const Track& track) {
  double sum = 0.0;
  std::int64_t count = 0;
  const std::size_t row = track.num_joints;
  for (std::size_t at = row; at + row < track.length * row; ++at) {
    if (!(track.present[at - row] && track.present[at] && track.present[at + row])) continue;
    ++count;
    for (std::size_t axis = 0; axis < track.axes; ++axis) {
      const double before = track.keypoints[(at - row) * track.axes + axis];
      const double here = track.keypoints[at * track.axes + axis];
      const double after = track.keypoints[(at + row) * track.axes + axis];
      const double bend = before - 2.0 * here + after;
      sum += bend * bend;
    }
  }
  return count == 0 ? 0.0 : sum / static_cast<double>(count) / 6.0;
}

// Adds to `result` [length] the values, and weights[k] of those k frames before and after.
void convolve(const Series& values, const std::vector<double>& weights, std::size_t length, double* result) {
  const double* const here = values.data() + kMargin;
  std::copy_n(here, length, result);
  for (std::size_t k = 1; k < weights.size(); ++k) {
    const double weight = weights[k];
    const double* const before = here - k;
    const double* const after = here + k;
    for (std::size_t t = 0; t < length; ++t) result[t] += weight * (before[t] + after[t]);
  }
}

std::vector<double> half_kernel(double width, std::size_t length) {
  const std::size_t reach = std::min(static_cast<std::size_t>(kReach * width), length - 1);
  std::vector<double> weights(reach + 1);
  for (std::size_t k = 0; k <= reach; ++k) {
    const double distance = static_cast<double>(k) / width;
    weights[k] = std::exp(-0.5 * distance * distance);
  }
  return weights;
}

class TrackSmoother {
 public:
  TrackSmoother(const Track& track, double noise, bool remainder)
      : track_(track),
        noise_(noise),
        values_(track.axes),
        sums_(track.axes),
        presence_(kMargin * 2 + track.length),
        weights_(track.length) {
    for (Series& series : values_) series.resize(kMargin * 2 + track.length);
    for (std::vector<double>& sums : sums_) sums.resize(track.length);
    kernels_.push_back({1.0});
    for (const double width : kWidths) kernels_.push_back(half_kernel(width, track.length));
    if (remainder) kernels_.emplace_back();  // zero
  }

  void smooth(float* smoothed) {
    const std::size_t choices = kernels_.size();
    std::vector<double> risks(track_.num_joints * choices), counts(track_.num_joints), total(choices);
    double total_count = 0.0;
    for (std::size_t joint = 0; joint < track_.num_joints; ++joint) {
      counts[joint] = load(joint);
      total_count += counts[joint];
      for (std::size_t i = 0; i < choices && counts[joint] > 0.0; ++i) {
        average(kernels_[i]);
        total[i] += risks[joint * choices + i] = risk();
      }
    }
    for (std::size_t joint = 0; joint < track_.num_joints; ++joint) {
      if (counts[joint] == 0.0) continue;
      std::size_t best = 0;
      double least = std::numeric_limits<double>::infinity();
      for (std::size_t i = 0; i < choices; ++i) {
        const double mixed = risks[joint * choices + i] / counts[joint] + total[i] / total_count;
        if (mixed < least) {
          least = mixed;
          best = i;
        }
      }
      if (best == 0) continue;
      load(joint);
      average(kernels_[best]);
      write(joint, smoothed);
    }
  }

 private:
  // Lays out a joint's numbers; returns in how many frames it is present.
  double load(std::size_t joint) {
    double count = 0.0;
    for (std::size_t t = 0; t < track_.length; ++t) {
      const std::size_t at = t * track_.num_joints + joint;
      const bool present = track_.present[at];
      presence_[kMargin + t] = present ? 1.0 : 0.0;
      count += present ? 1.0 : 0.0;
      for (std::size_t axis = 0; axis < track_.axes; ++axis)
        values_[axis][kMargin + t] = present ? double{track_.keypoints[at * track_.axes + axis]} : 0.0;
    }
    return count;
  }

  // Means over neighbouring frames, to sums_, and what they were divided by, to weights_.
  void average(const std::vector<double>& kernel) {
    if (kernel.empty()) {
      std::fill(weights_.begin(), weights_.end(), std::numeric_limits<double>::infinity());
      for (std::vector<double>& sums : sums_) std::fill(sums.begin(), sums.end(), 0.0);
      return;
    }
    convolve(presence_, kernel, track_.length, weights_.data());
    for (std::size_t axis = 0; axis < track_.axes; ++axis) {
      convolve(values_[axis], kernel, track_.length, sums_[axis].data());
      for (std::size_t t = 0; t < track_.length; ++t)
        if (weights_[t] > 0.0) sums_[axis][t] /= weights_[t];
    }
  }

  double risk() const {
    double sum = 0.0;
    for (std::size_t t = 0; t < track_.length; ++t) {
      if (presence_[kMargin + t] == 0.0) continue;
      double error = 0.0;
      for (std::size_t axis = 0; axis < track_.axes; ++axis) {
        const double difference = sums_[axis][t] - values_[axis][kMargin + t];
        error += difference * difference;
      }
      sum += error + 2.0 * noise_ / weights_[t];  // a frame has weight 1 in its own mean
    }
    return sum;
  }

  void write(std::size_t joint, float* smoothed) const {
    for (std::size_t t = 0; t < track_.length; ++t) {
      if (presence_[kMargin + t] == 0.0) continue;
      float* const target = smoothed + (t * track_.num_joints + joint) * track_.axes;
      for (std::size_t axis = 0; axis < track_.axes; ++axis)
        target[axis] = static_cast<float>(sums_[axis][t]);
    }
  }

  Track track_;
  double noise_;                              // variance, summed over the axes
  std::vector<std::vector<double>> kernels_;  // halves, from the middle; none stands for zero
  std::vector<Series> values_;                // of each axis, 0 where missing
  std::vector<std::vector<double>> sums_;     // of each axis
  Series presence_;
  std::vector<double> weights_;
};

}  // namespace

void smooth_tracks(const float* keypoints, const bool* present, const std::int64_t* begins,
                   std::int64_t num_tracks, std::int64_t num_joints, std::int64_t axes, bool remainder,
                   int threads, float* smoothed) {
  assert(0 < num_joints && 0 < axes);
  std::copy_n(keypoints, begins[num_tracks] * num_joints * axes, smoothed);
  guarded_loop(parallel_for, num_tracks, threads, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t first = begins[i] * num_joints;
      const Track track{keypoints + first * axes, present + first,
                        static_cast<std::size_t>(begins[i + 1] - begins[i]),
                        static_cast<std::size_t>(num_joints), static_cast<std::size_t>(axes)};
      const double noise = noise_variance(track);
      if (noise == 0.0) continue;
      TrackSmoother(track, noise, remainder).smooth(smoothed + first * axes);
    }
  });
}

}  // namespace fastpose
