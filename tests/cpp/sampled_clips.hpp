// Packed clips and settings for tests of the sampler.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <random>
#include <vector>

#include "sample/clip_sampler.hpp"
#include "sample/total_difference.hpp"

namespace fastpose::testing {

// Multiples of 2^-24 in [0, 1): no number depends on a library's distributions.
class Uniform {
 public:
  float operator()() { return static_cast<float>(random_() >> 8) * 0x1p-24f; }
  std::vector<float> operator()(std::int64_t count, float low, float high) {
    std::vector<float> values(static_cast<std::size_t>(count));
    for (float& value : values) value = low + (high - low) * (*this)();
    return values;
  }

 private:
  std::mt19937 random_{5};
};

// Clips of one to three persons and one to 41 frames, a fifth of the joints missing.
struct Clips {
  static constexpr std::int64_t kCount = 9, kJoints = 6;

  Clips() {
    for (std::int32_t i = 0; i < kCount; ++i) {
      persons.push_back(1 + i % 3);
      frames.push_back(1 + 5 * i);
      sizes.insert(sizes.end(), {1080, 1920});
      offsets.push_back(offsets.back() + persons.back() * frames.back());
      hashes.push_back(0x9E3779B97F4A7C15u * static_cast<std::uint64_t>(i + 1));
    }
    Uniform uniform;
    keypoints = uniform(offsets.back() * kJoints * 2, -100, 2000);
    scores = uniform(offsets.back() * kJoints, 0, 1);
    for (float& score : scores) score = score < 0.2f ? 0.0f : score;
    for (std::int64_t i = 0; i < kJoints; ++i)  // a chain of limbs
      for (std::int64_t j = 0; j < kJoints; ++j) limbs.push_back(std::abs(i - j) <= 2);
    total_differences(keypoints.data(), scores.data(), offsets.data(), frames.data(), kCount, kJoints, 2,
                      differences.data());
  }

  PackView view() const {
    return {kCount,        kJoints,      keypoints.data(), scores.data(),      offsets.data(), persons.data(),
            frames.data(), sizes.data(), hashes.data(),    differences.data(), flipped.data(), limbs.data()};
  }

  std::vector<std::int32_t> persons, frames, sizes;
  std::vector<std::int64_t> offsets{0}, flipped{0, 2, 1, 4, 3, 5};
  std::vector<std::uint64_t> hashes;
  std::vector<float> keypoints, scores;
  std::vector<double> differences = std::vector<double>(kCount);
  std::vector<std::uint8_t> limbs;
};

// What a motion filter knows of the clips' joints: numbers of no meaning, of the sizes that it has.
struct Prior {
  static constexpr std::int64_t kCoordinates = 2 * Clips::kJoints, kDirections = 9;

  explicit Prior(std::int64_t clip_length) : length(clip_length) {
    Uniform uniform;
    mean = uniform(kCoordinates * kFrequencies, -0.2f, 0.2f);
    directions = uniform(kCoordinates * kFrequencies * kDirections, -0.1f, 0.1f);
    variances = uniform(kDirections, 0.001f, 0.1f);
    joint_variances = uniform(kFrequencies * kCoordinates, 0.001f, 0.1f);
    joint_directions = uniform(kFrequencies * kCoordinates * kCoordinates, -0.5f, 0.5f);
    cosines = uniform(kFrequencies * length, -1.4f, 1.4f);
  }

  MotionPriorView view() const {
    return {length,          Clips::kJoints,         kDirections,
            mean.data(),     directions.data(),      variances.data(),
            left_out.data(), joint_variances.data(), joint_directions.data(),
            learned.data(),  cosines.data()};
  }

  std::int64_t length;
  std::vector<float> mean, directions, variances, joint_variances, joint_directions, cosines;
  std::vector<float> left_out{1e-5f, 1e-5f}, learned = std::vector<float>(Clips::kJoints, 1.0f);
};

inline SettingNumbers settings(double clip_len, double height, double width) {
  return {{"clip_len", {clip_len}},
          {"size", {height, width}},
          {"max_persons", {2}},
          {"frame_rule", {0}},
          {"crop", {1}},
          {"crop_padding", {1.25}},
          {"min_box", {10}},
          {"crop_area", {0.5, 1}},
          {"crop_aspect", {0.75, 1.5}},
          {"flip_probability", {0.5}},
          {"window", {0.7}},
          {"motion_filter", {0}},
          {"evidence", {0}}};
}

inline std::vector<NoiseFamily> all_families() {
  std::vector<NoiseFamily> all;
  for (auto family = NoiseFamily::kGaussian; family <= NoiseFamily::kScores;
       family = static_cast<NoiseFamily>(static_cast<std::int32_t>(family) + 1))
    all.push_back(family);
  return all;
}

}  // namespace fastpose::testing
