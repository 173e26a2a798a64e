// Any numbers that a packed file may hold, in arrays that fit each other, go through the sampler.
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <vector>

#include "check.hpp"
#include "sample/clip_sampler.hpp"
#include "sample/total_difference.hpp"
#include "sampled_clips.hpp"

namespace {

using namespace fastpose;
using namespace fastpose::testing;

// Numbers out of the input; zeros after its end.
class Bytes {
 public:
  Bytes(const std::uint8_t* data, std::size_t size) : next_(data), left_(size) {}

  template <class T>
  T take() {
    T value{};
    const std::size_t size = std::min(left_, sizeof(T));
    if (size > 0) std::memcpy(&value, next_, size);
    next_ += size;
    left_ -= size;
    return value;
  }
  std::int32_t below(std::int32_t bound) { return take<std::uint8_t>() % bound; }
  bool is_empty() const { return left_ == 0; }

 private:
  const std::uint8_t* next_;
  std::size_t left_;
};

constexpr std::int32_t kLargestSide = 1'000'000;  // pixels of an image
constexpr float kLargestScore = 1e30f;            // sums of larger ones over frames are infinite
constexpr double kMaxAlpha = 1000;
constexpr std::array kAlphas = {0.0, 0.05, 1.0, kMaxAlpha};

struct FuzzedPack {
  explicit FuzzedPack(Bytes& bytes) {
    const std::int32_t count = 1 + bytes.below(3);
    for (std::int32_t i = 0; i < count; ++i) {
      persons.push_back(1 + bytes.below(3));
      frames.push_back(1 + bytes.below(9));
      offsets.push_back(offsets.back() + std::int64_t{persons.back()} * frames.back());
      for (int side = 0; side < 2; ++side)
        sizes.push_back(1 + static_cast<std::int32_t>(bytes.take<std::uint32_t>() % kLargestSide));
      hashes.push_back(bytes.take<std::uint64_t>());
      const auto movement = std::abs(bytes.take<double>());
      differences.push_back(std::isfinite(movement) ? movement : 0.0);
    }
    const auto joints = static_cast<std::size_t>(offsets.back() * Clips::kJoints);
    keypoints.resize(2 * joints, 100.0f);
    scores.resize(joints, 1.0f);
    for (std::size_t i = 0; i < joints && !bytes.is_empty(); ++i) {
      scores[i] = std::min(bytes.take<float>(), kLargestScore);
      keypoints[2 * i] = bytes.take<float>();
      keypoints[2 * i + 1] = bytes.take<float>();
    }
    for (std::int64_t i = 0; i < Clips::kJoints; ++i)
      for (std::int64_t j = 0; j < Clips::kJoints; ++j) limbs.push_back(std::abs(i - j) <= 2);
  }

  PackView view() const {
    return {std::ssize(frames), Clips::kJoints,     keypoints.data(), scores.data(),
            offsets.data(),     persons.data(),     frames.data(),    sizes.data(),
            hashes.data(),      differences.data(), flipped.data(),   limbs.data()};
  }

  std::vector<std::int32_t> persons, frames, sizes;
  std::vector<std::int64_t> offsets{0}, flipped{0, 2, 1, 4, 3, 5};
  std::vector<std::uint64_t> hashes;
  std::vector<double> differences;
  std::vector<float> keypoints, scores;
  std::vector<std::uint8_t> limbs;
};

SettingNumbers chosen_settings(Bytes& bytes, std::int64_t clip_length) {
  SettingNumbers numbers = settings(static_cast<double>(clip_length), 56, 64);
  numbers["frame_rule"] = {static_cast<double>(bytes.below(3))};
  numbers["crop"] = {static_cast<double>(bytes.below(3))};
  numbers["motion_filter"] = {static_cast<double>(bytes.below(3))};
  numbers["evidence"] = {static_cast<double>(bytes.below(2))};
  numbers["min_box"] = {bytes.below(2) == 0 ? 1.0 : 1e6};
  numbers["crop_padding"] = {bytes.below(2) == 0 ? 1.0 : 100.0};
  numbers["crop_aspect"] = {0.01, 100.0};
  return numbers;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::int64_t kClipLength = 4, kPersons = 2, kJoints = kPersons * kClipLength * Clips::kJoints;
  static const Prior known(kClipLength);
  Bytes bytes(data, size);
  const SettingNumbers numbers = chosen_settings(bytes, kClipLength);
  const bool train = bytes.below(2) == 1, draw_frames = bytes.below(2) == 1;
  const auto flip = static_cast<Flip>(bytes.below(3));
  const auto epoch = bytes.take<std::uint32_t>();
  const double alpha = kAlphas[static_cast<std::size_t>(bytes.below(kAlphas.size()))];
  const auto family = static_cast<NoiseFamily>(bytes.below(1 + static_cast<int>(NoiseFamily::kScores)));
  const FuzzedPack pack(bytes);

  const MotionPriorView prior = known.view();
  const ClipSampler sampler(pack.view(), numbers, 11, train, &prior);
  std::vector<double> differences(pack.frames.size());
  total_differences(pack.keypoints.data(), pack.scores.data(), pack.offsets.data(), pack.frames.data(),
                    std::ssize(pack.frames), Clips::kJoints, 1, differences.data());
  for (const double difference : differences) CHECK(std::isfinite(difference) && difference >= 0);
  for (std::int64_t clip = 0; clip < std::ssize(pack.frames); ++clip) {
    std::array<float, 3 * kJoints> poses;
    std::array<float, kJoints> presence;
    std::array<std::int32_t, kClipLength> frames;
    std::array<float, kInputDraws> draws;
    std::array<float, 2> levels{};
    presence.fill(0);
    sampler.sample({1, &clip, &alpha, &alpha, epoch, 1, draw_frames, flip, {&family, 1}}, 1, poses.data(),
                   frames.data(), draws.data(), presence.data(), levels.data());
    for (const std::int32_t frame : frames)
      CHECK(frame >= 0 && frame < pack.frames[static_cast<std::size_t>(clip)]);
    for (const float number : poses) CHECK(std::isfinite(number));
    for (const float share : presence) CHECK(share >= 0 && share <= 1);
    for (const float level : levels) CHECK(std::isfinite(level));
  }
  return 0;
}
