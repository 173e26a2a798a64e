// Packed clips and their indices → a batch of sampled, noised, cropped and flipped keypoints.
#pragma once

#include <cstdint>

namespace fastpose {

// The packed clips, in memory of the caller's. Clip i holds rows offsets[i]..offsets[i + 1], which are
// [num_persons[i], num_frames[i]], each row one person in one frame.
struct PackView {
  std::int64_t num_clips;
  std::int64_t num_joints;
  const float* keypoints;             // [rows, num_joints, 2] pixels
  const float* scores;                // [rows, num_joints], 0 where the joint is missing
  const std::int64_t* offsets;        // [num_clips + 1]
  const std::int32_t* num_persons;    // [num_clips], at least 1
  const std::int32_t* num_frames;     // [num_clips], at least 1
  const std::int32_t* image_sizes;    // [num_clips, 2] (height, width) pixels
  const std::uint64_t* name_hashes;   // [num_clips]
  const double* total_differences;    // [num_clips] pixels
  const std::int64_t* flipped_joint;  // [num_joints] the joint each one becomes in a mirror
};

// How T frames are chosen: by the rule that PYSKL and MMAction2 share, or spread evenly as MotionBERT does,
// where frames of a short clip repeat.
enum class FrameRule { kSegments, kResample };

// What becomes the input: a square round the joints, in training a random part of it; or the whole frame, its
// top left corner at the input's, its longer side filling it.
enum class CropRule { kBox, kFrame };

struct SamplerSettings {
  std::uint64_t seed;
  std::int32_t clip_len;       // T
  std::int32_t height, width;  // of the input, pixels
  std::int32_t max_persons;    // M; persons beyond it are left out
  bool train;                  // random crop; else the whole box
  FrameRule frame_rule;
  CropRule crop;
  double crop_padding;    // side of the crop square over the larger side of the joints' box
  double min_box;         // pixels; a smaller box gives way to the whole frame
  double crop_area[2];    // share of the square, drawn uniformly
  double crop_aspect[2];  // width / height, drawn log-uniformly
  double flip_probability;
};

enum class Flip { kNever, kDrawn, kAlways };

struct BatchRequest {
  std::int64_t count;           // B
  const std::int64_t* indices;  // [B] clips
  const double* alpha_low;      // [B] noise strength, drawn uniformly from [low, high]
  const double* alpha_high;     // [B]
  std::uint32_t epoch;
  std::uint32_t stream;  // below 16
  bool draw_frames;      // else the middle of each T-th of the clip, or its start by kResample
  Flip flip;
};

constexpr std::int64_t kInputDraws = 12;

// Writes keypoints [B, M, T, V, 3] (x, y in input pixels, score; all 0 where missing), frames [B, T] and,
// unless null, draws [B, kInputDraws], uniform in [0, 1), for whatever makes a model's input of the clip.
// Bits depend on nothing but the clip, the settings and the request's numbers for it: not on `threads`, nor
// on the other clips.
void sample_batch(const PackView& pack, const SamplerSettings& settings, const BatchRequest& request,
                  int threads, float* keypoints, std::int32_t* frames, float* draws);

}  // namespace fastpose
