// Packed clips and their indices → a batch of sampled, noised, cropped and flipped keypoints.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "sample/motion_filter.hpp"
#include "sample/noised_clip.hpp"
#include "sample/pack_view.hpp"

namespace fastpose {

// Sampling settings by the names of fastpose/settings/sampling.py, each one number or more; a word is its
// place among those allowed.
using SettingNumbers = std::map<std::string, std::vector<double>>;

enum class Flip { kNever, kDrawn, kAlways };

struct BatchRequest {
  std::int64_t count;           // B
  const std::int64_t* indices;  // [B] clips
  const double* alpha_low;      // [B] noise strength, drawn uniformly from [low, high]
  const double* alpha_high;     // [B]
  std::uint32_t epoch;          // of which, outside training, noise does not depend
  std::uint32_t stream;         // below 16
  bool draw_frames;             // else the middle of each T-th of the clip, or its start by kResample
  Flip flip;
  std::span<const NoiseFamily> families;  // one or more, of which each clip draws its own
};

constexpr std::int64_t kInputDraws = 12;

struct SamplerSettings;  // what is read of SettingNumbers

class ClipSampler {
 public:
  // `train`: random crops; else the whole box. `prior` of the filter that the settings ask for, or null for
  // none. Throws std::out_of_range where a setting is missing, std::bad_alloc.
  ClipSampler(const PackView& pack, const SettingNumbers& settings, std::uint64_t seed, bool train,
              const MotionPriorView* prior);
  ~ClipSampler();

  // Writes keypoints [B, M, T, V, 3] (x, y in input pixels, score; all 0 where missing), frames [B, T] and,
  // unless null, draws [B, kInputDraws], uniform in [0, 1), for whatever makes a model's input of the clip.
  // With a front end, also presence [B, M, T, V], the share of frames behind a sampled one in which a joint
  // was seen, and noise_levels [B, 2], logarithms of the deviations of white noise and of drift in halves of
  // the crop's side. Bitwise identical for any `threads` and any other clips of the batch: bits depend on the
  // clip, the settings and the request's numbers for it alone. Throws std::bad_alloc.
  void sample(const BatchRequest& request, int threads, float* keypoints, std::int32_t* frames, float* draws,
              float* presence, float* noise_levels) const;

 private:
  PackView pack_;
  std::unique_ptr<const SamplerSettings> settings_;
  std::unique_ptr<const MotionFilter> filter_;
};

}  // namespace fastpose
