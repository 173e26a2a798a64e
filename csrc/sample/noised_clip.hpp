// Packed clips with noise of one of several families, whole or some of their frames.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "sample/pack_view.hpp"
#include "sample/philox.hpp"

namespace fastpose {

// What docs/method.md says of them; in the order of fastpose/settings/families.py.
enum class NoiseFamily : std::int32_t {
  kGaussian,
  kLaplace,
  kUniform,
  kStudent,
  kDrift,
  kOutliers,
  kDropout,
  kOcclusion,
  kSwap,
  kDropUniform,
  kDropRandom,
  kDropBlock,
  kScores,
};

// How much of which noise a clip gets. By one `random` it is a function of the frame's place in the video,
// however many frames are read.
struct ClipNoise {
  ClipRandom random;
  NoiseFamily family;
  double alpha;            // at least 0, by which nothing changes
  float scale_x, scale_y;  // standard deviations, pixels

  // Draws alpha of [alpha_low, alpha_high] and one of the families, from words 0 and 1 of Purpose::kAlpha.
  static ClipNoise draw(const PackView& pack, std::int64_t clip, const ClipRandom& random, double alpha_low,
                        double alpha_high, std::span<const NoiseFamily> families);

  bool leaves_out_frames() const;
};

// Writes the frames that remain of `length`, in order: fewer where the noise leaves some out. Throws
// std::bad_alloc, as all below.
void remaining_frames(const ClipNoise& noise, std::int32_t length, std::vector<std::int32_t>& frames);

// Writes joints [persons, count, num_joints, 3] of the first `persons` persons in `count` frames of the clip:
// x, y in its pixels and score, all 0 where missing.
void read_noised_frames(const PackView& pack, std::int64_t clip, const ClipNoise& noise, std::int64_t persons,
                        const std::int32_t* frames, std::int64_t count, float* joints);

// All that remains of a clip.
struct NoisedClip {
  std::int64_t persons, frames;
  std::vector<float> joints;         // [persons, frames, num_joints, 3] as above
  std::vector<std::int32_t> places;  // [frames] of each in the video
};

// The first `max_persons` persons of a clip; reuses the memory of `out`.
void read_noised_clip(const PackView& pack, std::int64_t clip, const ClipNoise& noise,
                      std::int64_t max_persons, NoisedClip& out);

}  // namespace fastpose
