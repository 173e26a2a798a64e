#include "sample/noised_clip.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/keypoint.hpp"
#include "sample/normals.hpp"
#include "sample/total_difference.hpp"

namespace fastpose {
namespace {

constexpr float kDrift = 0.9f;                // correlation of drift in neighbouring frames
constexpr float kDriftStep = 0.4358898944f;   // √(1 - kDrift²)
constexpr double kOutliers = 0.1;             // share of the joints that are hit
constexpr float kOutlierScale = 3.16227766f;  // √(1 / kOutliers)
constexpr double kLeastScore = 1e-6;          // of a score that is left

double share_lost(const ClipNoise& noise) {
  return std::min(1.0, 2.0 * noise.alpha);
}

std::int32_t rounded(double number) {
  return static_cast<std::int32_t>(std::floor(number + 0.5));
}

// Copies the frames of the first `persons` persons, missing joints as zeros.
void gather(const PackView& pack, std::int64_t clip, std::int64_t persons, const std::int32_t* frames,
            std::int64_t count, float* joint) {
  const std::int64_t joints = pack.num_joints;
  for (std::int64_t person = 0; person < persons; ++person) {
    for (std::int64_t t = 0; t < count; ++t) {
      const std::int64_t row = pack.offsets[clip] + person * pack.num_frames[clip] + frames[t];
      const float* keypoints = pack.keypoints + 2 * row * joints;
      const float* scores = pack.scores + row * joints;
      for (std::int64_t v = 0; v < joints; ++v, joint += 3) {
        const bool present = is_present(keypoints[2 * v], keypoints[2 * v + 1], scores[v]);
        joint[0] = present ? keypoints[2 * v] : 0.0f;
        joint[1] = present ? keypoints[2 * v + 1] : 0.0f;
        joint[2] = present ? scores[v] : 0.0f;
      }
    }
  }
}

// The joints [persons, count, num_joints, 3] of some frames of a video.
struct FrameJoints {
  const std::int32_t* frames;
  std::int64_t persons, count, num_joints;
  float* joints;

  std::int64_t elements() const { return persons * num_joints; }  // of a frame
  float* row(std::int64_t person, std::int64_t t) const {
    return joints + 3 * (person * count + t) * num_joints;
  }

  // Calls visit(word, joint) with a word of Purpose::kHits for each joint.
  template <class Visit>
  void for_each(const ClipRandom& random, const Visit& visit) const {
    for (std::int64_t t = 0; t < count; ++t) {
      RandomWords words(random, Purpose::kHits, frames[t]);
      for (std::int64_t person = 0; person < persons; ++person) {
        float* const joint = row(person, t);
        for (std::int64_t v = 0; v < num_joints; ++v) visit(words.next(), joint + 3 * v);
      }
    }
  }
};

void clear(float* joint) {
  std::fill_n(joint, 3, 0.0f);
}

// Moves the present joints; row t of dx and dy [rows, normals_of_frame] is that of frame t, or by `by_place`
// that of its place in the video.
void displace(const ClipNoise& noise, const std::vector<float>& dx, const std::vector<float>& dy,
              bool by_place, const FrameJoints& at) {
  const std::int64_t frame_size = normals_of_frame(at.elements());
  float* joint = at.joints;
  for (std::int64_t person = 0; person < at.persons; ++person) {
    for (std::int64_t t = 0; t < at.count; ++t) {
      const std::int64_t first = (by_place ? at.frames[t] : t) * frame_size + person * at.num_joints;
      for (std::int64_t i = first; i < first + at.num_joints; ++i, joint += 3) {
        const bool present = joint[2] > 0.0f;
        joint[0] += present ? noise.scale_x * dx[i] : 0.0f;
        joint[1] += present ? noise.scale_y * dy[i] : 0.0f;
      }
    }
  }
}

void add_white(const ClipNoise& noise, PairTransform transform, const FrameJoints& at) {
  std::vector<float> dx, dy;
  fill_noise(noise.random, transform, at.frames, at.count, at.elements(), dx, dy);
  displace(noise, dx, dy, false, at);
}

// An AR(1) of unit variance from frame 0 of the video on.
void add_drift(const ClipNoise& noise, const FrameJoints& at) {
  std::vector<std::int32_t> frames(*std::max_element(at.frames, at.frames + at.count) + 1);
  std::iota(frames.begin(), frames.end(), 0);
  std::vector<float> dx, dy;
  fill_noise(noise.random, box_muller, frames.data(), std::ssize(frames), at.elements(), dx, dy);
  const std::int64_t frame_size = normals_of_frame(at.elements());
  for (std::int64_t i = frame_size; i < frame_size * std::ssize(frames); ++i) {
    dx[i] = kDrift * dx[i - frame_size] + kDriftStep * dx[i];
    dy[i] = kDrift * dy[i - frame_size] + kDriftStep * dy[i];
  }
  displace(noise, dx, dy, true, at);
}

void add_outliers(const ClipNoise& noise, const FrameJoints& at) {
  std::vector<float> dx, dy;
  fill_noise(noise.random, box_muller, at.frames, at.count, at.elements(), dx, dy);
  const std::int64_t frame_size = normals_of_frame(at.elements());
  for (std::int64_t t = 0; t < at.count; ++t) {
    RandomWords words(noise.random, Purpose::kHits, at.frames[t]);
    for (std::int64_t i = t * frame_size; i < t * frame_size + at.elements(); ++i) {
      const float scale = double{uniform(words.next())} < kOutliers ? kOutlierScale : 0.0f;
      dx[i] *= scale;
      dy[i] *= scale;
    }
  }
  displace(noise, dx, dy, false, at);
}

// Takes one limb of each person, of which words 2·person and 2·person + 1 choose the joint and the first
// frame, out of a block of the video's frames.
void hide_limbs(const PackView& pack, std::int32_t length, const ClipNoise& noise, const FrameJoints& at) {
  const std::int32_t hidden = rounded(share_lost(noise) * length);
  RandomWords words(noise.random, Purpose::kLosses);
  for (std::int64_t person = 0; person < at.persons; ++person) {
    const std::int64_t joint = below(words.next(), static_cast<std::uint32_t>(at.num_joints));
    const std::uint8_t* const limb = pack.limb_joints + joint * at.num_joints;
    const auto start =
        static_cast<std::int32_t>(below(words.next(), static_cast<std::uint32_t>(length - hidden + 1)));
    for (std::int64_t t = 0; t < at.count; ++t) {
      if (at.frames[t] < start || at.frames[t] >= start + hidden) continue;
      for (std::int64_t v = 0; v < at.num_joints; ++v)
        if (limb[v] != 0) clear(at.row(person, t) + 3 * v);
    }
  }
}

void swap_sides(const PackView& pack, const ClipNoise& noise, const FrameJoints& at) {
  const double probability = std::min(0.5, noise.alpha);
  for (std::int64_t t = 0; t < at.count; ++t) {
    RandomWords words(noise.random, Purpose::kHits, at.frames[t]);
    for (std::int64_t person = 0; person < at.persons; ++person)
      if (double{uniform(words.next())} < probability) exchange_sides(pack, at.row(person, t));
  }
}

void drop_joints(const ClipNoise& noise, const FrameJoints& at) {
  const double share = share_lost(noise);
  at.for_each(noise.random, [share](std::uint32_t word, float* joint) {
    if (double{uniform(word)} < share) clear(joint);
  });
}

void lower_scores(const ClipNoise& noise, const FrameJoints& at) {
  const double share = share_lost(noise);
  at.for_each(noise.random, [share](std::uint32_t word, float* joint) {
    const auto left = static_cast<float>(std::max(1.0 - share * double{uniform(word)}, kLeastScore));
    const float lowered = joint[2] * left;
    if (lowered > 0.0f) joint[2] = lowered;  // the least of numbers stays as it is
  });
}

}  // namespace

ClipNoise ClipNoise::draw(const PackView& pack, std::int64_t clip, const ClipRandom& random, double alpha_low,
                          double alpha_high, std::span<const NoiseFamily> families) {
  const PhiloxBlock words = random.block(Purpose::kAlpha, 0);
  const double height = pack.image_sizes[2 * clip];
  const double width = pack.image_sizes[2 * clip + 1];
  const double alpha = between(words[0], alpha_low, alpha_high);
  const double strength = alpha * noise_coefficient(pack.total_differences[clip], height, width);
  return {random, families[below(words[1], static_cast<std::uint32_t>(families.size()))], alpha,
          static_cast<float>(strength * width), static_cast<float>(strength * height)};
}

bool ClipNoise::leaves_out_frames() const {
  return alpha > 0.0 && (family == NoiseFamily::kDropUniform || family == NoiseFamily::kDropRandom ||
                         family == NoiseFamily::kDropBlock);
}

void remaining_frames(const ClipNoise& noise, std::int32_t length, std::vector<std::int32_t>& frames) {
  const std::int32_t count =
      noise.leaves_out_frames() ? std::max(1, rounded((1.0 - share_lost(noise)) * length)) : length;
  frames.resize(static_cast<std::size_t>(count));
  std::iota(frames.begin(), frames.end(), 0);
  if (count == length) return;
  RandomWords words(noise.random, Purpose::kLosses);
  if (noise.family == NoiseFamily::kDropUniform) {
    for (std::int64_t i = 0; i < count; ++i)
      frames[i] = static_cast<std::int32_t>((2 * i + 1) * length / (2 * std::int64_t{count}));
  } else if (noise.family == NoiseFamily::kDropRandom) {
    // Every choice of them equally likely (selection sampling).
    for (std::int32_t frame = 0, kept = 0; kept < count; ++frame)
      if (below(words.next(), static_cast<std::uint32_t>(length - frame)) <
          static_cast<std::uint32_t>(count - kept))
        frames[kept++] = frame;
  } else {
    const auto start = below(words.next(), static_cast<std::uint32_t>(count) + 1);
    for (auto frame = frames.begin() + start; frame != frames.end(); ++frame) *frame += length - count;
  }
}

void read_noised_frames(const PackView& pack, std::int64_t clip, const ClipNoise& noise, std::int64_t persons,
                        const std::int32_t* frames, std::int64_t count, float* joints) {
  gather(pack, clip, persons, frames, count, joints);
  if (noise.alpha == 0.0) return;
  const FrameJoints at{frames, persons, count, pack.num_joints, joints};
  switch (noise.family) {
    case NoiseFamily::kGaussian:
      return add_white(noise, box_muller, at);
    case NoiseFamily::kLaplace:
      return add_white(noise, laplace_pairs, at);
    case NoiseFamily::kUniform:
      return add_white(noise, uniform_pairs, at);
    case NoiseFamily::kStudent:
      return add_white(noise, student_pairs, at);
    case NoiseFamily::kDrift:
      return add_drift(noise, at);
    case NoiseFamily::kOutliers:
      return add_outliers(noise, at);
    case NoiseFamily::kDropout:
      return drop_joints(noise, at);
    case NoiseFamily::kOcclusion:
      return hide_limbs(pack, pack.num_frames[clip], noise, at);
    case NoiseFamily::kSwap:
      return swap_sides(pack, noise, at);
    case NoiseFamily::kDropUniform:
    case NoiseFamily::kDropRandom:
    case NoiseFamily::kDropBlock:
      return;  // what remains is as it was
    case NoiseFamily::kScores:
      return lower_scores(noise, at);
  }
}

void read_noised_clip(const PackView& pack, std::int64_t clip, const ClipNoise& noise,
                      std::int64_t max_persons, NoisedClip& out) {
  remaining_frames(noise, pack.num_frames[clip], out.places);
  out.persons = std::min<std::int64_t>(pack.num_persons[clip], max_persons);
  out.frames = std::ssize(out.places);
  out.joints.resize(static_cast<std::size_t>(3 * out.persons * out.frames * pack.num_joints));
  read_noised_frames(pack, clip, noise, out.persons, out.places.data(), out.frames, out.joints.data());
}

}  // namespace fastpose
