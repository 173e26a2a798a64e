#include "sample/clip_sampler.hpp"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>
#include <vector>

#include "base/guarded.hpp"
#include "base/thread_pool.hpp"
#include "sample/front_end.hpp"
#include "sample/motion_filter.hpp"
#include "sample/philox.hpp"

namespace fastpose {

// In the order of the words allowed.
enum class FrameRule { kSegments, kResample, kMeans };
enum class CropRule { kBox, kFrame, kSpread };
enum class FilterRule { kOff, kWhite, kColours };

struct SamplerSettings {
  SamplerSettings(const SettingNumbers& numbers, std::uint64_t seed_, bool train_)
      : seed(seed_),
        train(train_),
        clip_len(static_cast<std::int32_t>(numbers.at("clip_len").at(0))),
        height(static_cast<std::int32_t>(numbers.at("size").at(0))),
        width(static_cast<std::int32_t>(numbers.at("size").at(1))),
        max_persons(static_cast<std::int32_t>(numbers.at("max_persons").at(0))),
        frame_rule(static_cast<FrameRule>(numbers.at("frame_rule").at(0))),
        crop(static_cast<CropRule>(numbers.at("crop").at(0))),
        crop_padding(numbers.at("crop_padding").at(0)),
        min_box(numbers.at("min_box").at(0)),
        crop_area{numbers.at("crop_area").at(0), numbers.at("crop_area").at(1)},
        crop_aspect{numbers.at("crop_aspect").at(0), numbers.at("crop_aspect").at(1)},
        flip_probability(numbers.at("flip_probability").at(0)),
        window(numbers.at("window").at(0)),
        motion_filter(static_cast<FilterRule>(numbers.at("motion_filter").at(0))),
        evidence(numbers.at("evidence").at(0) != 0.0) {}

  bool has_front_end() const {
    return frame_rule == FrameRule::kMeans || crop == CropRule::kSpread ||
           motion_filter != FilterRule::kOff || evidence;
  }

  std::uint64_t seed;
  bool train;
  std::int32_t clip_len;       // T
  std::int32_t height, width;  // of the input, pixels
  std::int32_t max_persons;    // M
  FrameRule frame_rule;
  CropRule crop;
  double crop_padding;    // side of the crop square over the larger side of the joints' box
  double min_box;         // pixels
  double crop_area[2];    // share of the square, drawn uniformly
  double crop_aspect[2];  // width / height, drawn log-uniformly
  double flip_probability;
  double window;  // least share of the clip in a view, kMeans
  FilterRule motion_filter;
  bool evidence;
};

namespace {

constexpr double kBoxOfSpread =
    3.84;  // larger side of a person's box over the larger deviation of the joints
constexpr double kLeastLevel = 1e-3, kMostLevel = 10.0;  // of noise, in halves of the crop's side

// Where a sample of a clip is written.
struct SampleTarget {
  float* keypoints;      // [M, T, V, 3]
  std::int32_t* frames;  // [T]
  float* draws;          // [kInputDraws], or null
  float* presence;       // [M, T, V], or null
  float* noise_levels;   // [2], or null
};

// What a range of clips needs for a while.
struct SampleMemory {
  NoisedClip clip;
  FrameParts parts;
  FrontEndMemory front_end;
};

// Box of the present joints, pixels; empty until it holds one.
struct Box {
  float min_x = std::numeric_limits<float>::max();
  float min_y = std::numeric_limits<float>::max();
  float max_x = std::numeric_limits<float>::lowest();
  float max_y = std::numeric_limits<float>::lowest();

  void add(float x, float y) {
    min_x = std::min(min_x, x);
    min_y = std::min(min_y, y);
    max_x = std::max(max_x, x);
    max_y = std::max(max_y, y);
  }
};

struct Crop {
  double x0, y0, width, height;  // pixels of the clip
};

// FrameRule::kSegments, `count` frames of a clip of `length`.
void choose_segments(const ClipRandom& random, std::int64_t length, std::int64_t count, bool draw,
                     std::int32_t* frames) {
  RandomWords words(random, Purpose::kFrames);
  if (length < count) {
    const std::int64_t start = draw ? below(words.next(), static_cast<std::uint32_t>(length)) : 0;
    for (std::int64_t i = 0; i < count; ++i) frames[i] = static_cast<std::int32_t>((start + i) % length);
  } else if (!draw) {
    for (std::int64_t i = 0; i < count; ++i)
      frames[i] = static_cast<std::int32_t>((2 * i + 1) * length / (2 * count));
  } else if (length < 2 * count) {
    // Skips length - count of the count + 1 gaps, every choice of them equally likely (selection sampling).
    std::int64_t left = length - count;
    for (std::int64_t i = 0; i < count; ++i) {
      const auto gaps = static_cast<std::uint32_t>(count + 1 - i);
      if (below(words.next(), gaps) < static_cast<std::uint64_t>(left)) --left;
      frames[i] = static_cast<std::int32_t>(i + length - count - left);
    }
  } else {
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t begin = i * length / count;
      const std::int64_t end = (i + 1) * length / count;
      frames[i] =
          static_cast<std::int32_t>(begin + below(words.next(), static_cast<std::uint32_t>(end - begin)));
    }
  }
}

// FrameRule::kResample. Frame i is i·length/count rounded down, or drawn from the i-th of `count` equal
// parts; of a shorter clip it is drawn by a coin to be rounded down or up, and the frames are then in order.
void choose_resampled(const ClipRandom& random, std::int64_t length, std::int64_t count, bool draw,
                      std::int32_t* frames) {
  RandomWords words(random, Purpose::kFrames);
  std::int64_t raised = 0;  // of the positions that lie in the same frame
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t frame = i * length / count;
    if (!draw) {
      frames[i] = static_cast<std::int32_t>(frame);
    } else if (length >= count) {
      const std::int64_t part = below(words.next(), static_cast<std::uint32_t>(length));
      frames[i] = static_cast<std::int32_t>((i * length + part) / count);
    } else {
      // The positions first..end - 1 lie in this frame: those rounded down come to stand before those raised.
      const std::int64_t first = (frame * count + length - 1) / length;
      const std::int64_t end = ((frame + 1) * count + length - 1) / length;
      if (i == first) raised = 0;
      const bool raise = below(words.next(), 2) == 1 && i * length % count != 0;
      const std::int64_t position = raise ? end - 1 - raised : i - raised;
      frames[position] = static_cast<std::int32_t>(std::min(frame + raise, length - 1));
      raised += raise;
    }
  }
}

// Writes the places in the video of the frames that are chosen of those that the noise leaves.
void choose_frames(const PackView& pack, const SamplerSettings& settings, const BatchRequest& request,
                   const ClipRandom& random, const ClipNoise& noise, std::int64_t clip,
                   std::int32_t* frames) {
  const auto choose = settings.frame_rule == FrameRule::kSegments ? choose_segments : choose_resampled;
  if (!noise.leaves_out_frames())
    return choose(random, pack.num_frames[clip], settings.clip_len, request.draw_frames, frames);
  std::vector<std::int32_t> places;
  remaining_frames(noise, pack.num_frames[clip], places);
  choose(random, std::ssize(places), settings.clip_len, request.draw_frames, frames);
  for (std::int32_t t = 0; t < settings.clip_len; ++t) frames[t] = places[frames[t]];
}

Box box_of(const float* joints, std::int64_t count) {
  Box box;
  for (const float* joint = joints; joint != joints + 3 * count; joint += 3)
    if (joint[2] > 0.0f) box.add(joint[0], joint[1]);
  return box;
}

// Where the persons are, in pixels.
struct Extent {
  double centre_x, centre_y;
  double size;  // larger side of the box
};

Extent extent_of(const Box& box) {
  const double box_width = double{box.max_x} - double{box.min_x};
  const double box_height = double{box.max_y} - double{box.min_y};
  return {(double{box.min_x} + double{box.max_x}) / 2.0, (double{box.min_y} + double{box.max_y}) / 2.0,
          std::max(box_width, box_height)};
}

// The padded square round the persons, or round the frame where their box is too small to be a person's; by
// CropRule::kFrame the square from the frame's corner.
Crop crop_square(const Extent& extent, double height, double width, const SamplerSettings& settings) {
  double centre_x = width / 2.0;
  double centre_y = height / 2.0;
  double side = std::max(width, height);
  if (settings.crop == CropRule::kFrame) return {0.0, 0.0, side, side};
  if (extent.size >= settings.min_box) {
    centre_x = extent.centre_x;
    centre_y = extent.centre_y;
    side = settings.crop_padding * extent.size;
  }
  return {centre_x - side / 2.0, centre_y - side / 2.0, side, side};
}

// A part of the square of random area, aspect and place.
Crop random_crop(const Crop& square, const ClipRandom& random, const SamplerSettings& settings) {
  const PhiloxBlock words = random.block(Purpose::kCropAndFlip, 0);
  const double area = between(words[0], settings.crop_area[0], settings.crop_area[1]);
  const double aspect =
      std::exp(between(words[1], std::log(settings.crop_aspect[0]), std::log(settings.crop_aspect[1])));
  const double width = square.width * std::min(1.0, std::sqrt(area * aspect));
  const double height = square.height * std::min(1.0, std::sqrt(area / aspect));
  return {square.x0 + double{uniform(words[2])} * (square.width - width),
          square.y0 + double{uniform(words[3])} * (square.height - height), width, height};
}

// From pixels of the clip to pixels of the input, in place, for `count` joints [count, 3].
void place(const Crop& crop, const SamplerSettings& settings, std::int64_t count, float* joints) {
  const auto x0 = static_cast<float>(crop.x0);
  const auto y0 = static_cast<float>(crop.y0);
  const auto scale_x = static_cast<float>(settings.width / crop.width);
  const auto scale_y = static_cast<float>(settings.height / crop.height);
  for (float* joint = joints; joint != joints + 3 * count; joint += 3) {
    const bool present = joint[2] > 0.0f;
    joint[0] = present ? (joint[0] - x0) * scale_x : 0.0f;
    joint[1] = present ? (joint[1] - y0) * scale_y : 0.0f;
  }
}

// Mirrors rows [rows, num_joints, 3] of an input `width` pixels wide.
void mirror(const PackView& pack, std::int32_t width, std::int64_t rows, float* joints) {
  const auto last_column = static_cast<float>(width - 1);
  for (std::int64_t row = 0; row < rows; ++row, joints += 3 * pack.num_joints) {
    for (std::int64_t v = 0; v < pack.num_joints; ++v) {
      float* const joint = joints + 3 * v;
      joint[0] = joint[2] > 0.0f ? last_column - joint[0] : 0.0f;
    }
    exchange_sides(pack, joints);
  }
}

float noise_level(double variance, const Crop& square) {
  const double level = std::sqrt(variance) / (square.width / 2.0);
  return static_cast<float>(std::log(std::clamp(level, kLeastLevel, kMostLevel)));
}

// Chooses what lies behind each sampled frame of a clip, writes the places in the video of their middles.
void choose_parts(const SamplerSettings& settings, const BatchRequest& request, const ClipRandom& random,
                  const NoisedClip& clip, FrameParts& parts, std::int32_t* frames) {
  const std::int64_t count = settings.clip_len;
  if (settings.frame_rule == FrameRule::kMeans) {
    std::vector<float> drawn(static_cast<std::size_t>(count + 1));
    RandomWords words(random, Purpose::kFrames);
    if (request.draw_frames)
      for (float& number : drawn) number = uniform(words.next());
    choose_parts(clip.frames, count, request.draw_frames ? drawn.data() : nullptr, settings.window, parts,
                 frames);
  } else {
    const auto choose = settings.frame_rule == FrameRule::kSegments ? choose_segments : choose_resampled;
    choose(random, clip.frames, count, request.draw_frames, frames);
    parts.begins.assign(frames, frames + count);
    parts.ends.resize(static_cast<std::size_t>(count));
    for (std::size_t t = 0; t < parts.ends.size(); ++t) parts.ends[t] = parts.begins[t] + 1;
  }
  for (std::int64_t t = 0; t < count; ++t) frames[t] = clip.places[static_cast<std::size_t>(frames[t])];
}

// Samples a clip through its front end, in pixels of the clip; returns the square to crop.
Crop see_whole_clip(const PackView& pack, const SamplerSettings& settings, const BatchRequest& request,
                    const ClipRandom& random, const ClipNoise& noise, std::int64_t clip,
                    const MotionFilter* filter, SampleMemory& memory, const SampleTarget& target) {
  read_noised_clip(pack, clip, noise, settings.max_persons, memory.clip);
  choose_parts(settings, request, random, memory.clip, memory.parts, target.frames);
  const SeenClip seen =
      see_clip(memory.clip.joints.data(), memory.clip.persons, memory.clip.frames, pack.num_joints,
               memory.parts, filter, memory.front_end, target.keypoints, target.presence);
  const std::int64_t count = memory.clip.persons * settings.clip_len * pack.num_joints;
  const Extent extent = settings.crop == CropRule::kSpread
                            ? Extent{seen.center_x, seen.center_y, kBoxOfSpread * seen.deviation}
                            : extent_of(box_of(target.keypoints, count));
  const Crop square =
      crop_square(extent, pack.image_sizes[2 * clip], pack.image_sizes[2 * clip + 1], settings);
  target.noise_levels[0] = noise_level(seen.white, square);
  target.noise_levels[1] = noise_level(seen.drift, square);
  return square;
}

// Exchanges left and right in presence [rows, num_joints].
void mirror_presence(const PackView& pack, std::int64_t rows, float* presence) {
  for (std::int64_t row = 0; row < rows; ++row, presence += pack.num_joints) {
    for (std::int64_t v = 0; v < pack.num_joints; ++v)
      if (v < pack.flipped_joint[v]) std::swap(presence[v], presence[pack.flipped_joint[v]]);
  }
}

void sample_clip(const PackView& pack, const SamplerSettings& settings, const BatchRequest& request,
                 const MotionFilter* filter, std::int64_t position, SampleMemory& memory,
                 const SampleTarget& target) {
  const std::int64_t clip = request.indices[position];
  assert(0 <= clip && clip < pack.num_clips);
  const ClipRandom random(settings.seed, pack.name_hashes[clip], request.epoch, request.stream);
  // Outside training a video has one noise, whichever of its samples is drawn.
  const ClipRandom of_noise(settings.seed, pack.name_hashes[clip], settings.train ? request.epoch : 0,
                            request.stream);
  const ClipNoise noise = ClipNoise::draw(pack, clip, of_noise, request.alpha_low[position],
                                          request.alpha_high[position], request.families);
  if (target.draws != nullptr) {
    RandomWords words(random, Purpose::kInput);
    for (std::int64_t i = 0; i < kInputDraws; ++i) target.draws[i] = uniform(words.next());
  }

  const bool flip = request.flip == Flip::kAlways ||
                    (request.flip == Flip::kDrawn &&
                     uniform(random.block(Purpose::kCropAndFlip, 1)[0]) < settings.flip_probability);

  const std::int64_t persons = std::min(pack.num_persons[clip], settings.max_persons);
  const std::int64_t person_size = settings.clip_len * pack.num_joints;
  const std::int64_t count = persons * person_size;
  Crop square{};
  if (settings.has_front_end()) {
    square = see_whole_clip(pack, settings, request, random, noise, clip, filter, memory, target);
  } else {
    choose_frames(pack, settings, request, random, noise, clip, target.frames);
    read_noised_frames(pack, clip, noise, persons, target.frames, settings.clip_len, target.keypoints);
    square = crop_square(extent_of(box_of(target.keypoints, count)), pack.image_sizes[2 * clip],
                         pack.image_sizes[2 * clip + 1], settings);
  }
  const bool crops = settings.train && settings.crop != CropRule::kFrame;
  place(crops ? random_crop(square, random, settings) : square, settings, count, target.keypoints);
  if (flip) mirror(pack, settings.width, persons * settings.clip_len, target.keypoints);
  const std::int64_t all = settings.max_persons * person_size;
  std::fill(target.keypoints + 3 * count, target.keypoints + 3 * all, 0.0f);
  if (target.presence == nullptr) return;
  if (flip) mirror_presence(pack, persons * settings.clip_len, target.presence);
  std::fill(target.presence + count, target.presence + all, 0.0f);
}

}  // namespace

ClipSampler::ClipSampler(const PackView& pack, const SettingNumbers& settings, std::uint64_t seed, bool train,
                         const MotionPriorView* prior)
    : pack_(pack), settings_(std::make_unique<const SamplerSettings>(settings, seed, train)) {
  if (prior != nullptr && settings_->motion_filter != FilterRule::kOff)
    filter_ = std::make_unique<const MotionFilter>(*prior, settings_->motion_filter == FilterRule::kColours);
}

ClipSampler::~ClipSampler() = default;

void ClipSampler::sample(const BatchRequest& request, int threads, float* keypoints, std::int32_t* frames,
                         float* draws, float* presence, float* noise_levels) const {
  assert(request.stream < 16);
  constexpr std::int64_t kClipsPerRange = 4;
  const SamplerSettings& settings = *settings_;
  assert(!settings.has_front_end() || (presence != nullptr && noise_levels != nullptr));
  const std::int64_t joints = std::int64_t{settings.max_persons} * settings.clip_len * pack_.num_joints;
  guarded_loop(
      parallel_for, request.count, threads, kClipsPerRange, [&](std::int64_t begin, std::int64_t end) {
        SampleMemory memory;
        const auto of_clip = [](float* numbers, std::int64_t i, std::int64_t size) {
          return numbers == nullptr ? nullptr : numbers + i * size;
        };
        for (std::int64_t i = begin; i < end; ++i)
          sample_clip(
              pack_, settings, request, filter_.get(), i, memory,
              {keypoints + 3 * i * joints, frames + i * settings.clip_len, of_clip(draws, i, kInputDraws),
               of_clip(presence, i, joints), of_clip(noise_levels, i, 2)});
      });
}

}  // namespace fastpose
