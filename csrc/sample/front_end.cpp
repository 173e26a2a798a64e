#include "sample/front_end.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>

namespace fastpose {
namespace {

struct Spread {
  double count = 0.0;
  double mean[2] = {};
  double squares[2] = {};  // summed, about the mean

  double variance(int axis) const { return count > 0.0 ? squares[axis] / count : 0.0; }

  // Takes in other joints.
  void add(const Spread& other) {
    if (other.count == 0.0) return;
    const double total = count + other.count;
    for (int axis = 0; axis < 2; ++axis) {
      const double apart = other.mean[axis] - mean[axis];
      mean[axis] += apart * other.count / total;
      squares[axis] += other.squares[axis] + apart * apart * count * other.count / total;
    }
    count = total;
  }
};

Spread spread_of(const float* joints, std::int64_t count) {
  Spread spread;
  double sums[2] = {};
  for (const float* joint = joints; joint != joints + 3 * count; joint += 3) {
    if (!(joint[2] > 0.0f)) continue;
    ++spread.count;
    sums[0] += double{joint[0]};
    sums[1] += double{joint[1]};
  }
  if (spread.count == 0.0) return spread;
  for (int axis = 0; axis < 2; ++axis) spread.mean[axis] = sums[axis] / spread.count;
  for (const float* joint = joints; joint != joints + 3 * count; joint += 3) {
    if (!(joint[2] > 0.0f)) continue;
    for (int axis = 0; axis < 2; ++axis) {
      const double apart = double{joint[axis]} - spread.mean[axis];
      spread.squares[axis] += apart * apart;
    }
  }
  return spread;
}

// The variance of white noise along each axis: from second differences, which hardly see motion.
std::array<double, 2> white_noise(const float* joints, std::int64_t persons, std::int64_t frames,
                                  std::int64_t num_joints) {
  std::array<double, 2> sums{};
  double count = 0.0;
  const std::int64_t row = 3 * num_joints;
  for (std::int64_t person = 0; person < persons; ++person) {
    const float* const first = joints + person * frames * row;
    for (std::int64_t t = 1; t + 1 < frames; ++t) {
      const float* const here = first + t * row;
      for (std::int64_t i = 0; i < row; i += 3) {
        if (!(here[i + 2 - row] > 0.0f && here[i + 2] > 0.0f && here[i + 2 + row] > 0.0f)) continue;
        ++count;
        for (std::int64_t axis = 0; axis < 2; ++axis) {
          const double bend =
              double{here[i + axis - row]} - 2.0 * double{here[i + axis]} + double{here[i + axis + row]};
          sums[static_cast<std::size_t>(axis)] += bend * bend;
        }
      }
    }
  }
  for (double& sum : sums) sum = count > 0.0 ? sum / (6.0 * count) : 0.0;
  return sums;
}

// Mean frames [T, num_joints, 3] of one person's joints [frames, num_joints, 3]; counts [T, num_joints].
void mean_frames(const float* joints, std::int64_t num_joints, const FrameParts& parts, float* out,
                 float* counts, float* presence) {
  const std::int64_t row = 3 * num_joints;
  for (std::size_t part = 0; part < parts.begins.size(); ++part, out += row, counts += num_joints) {
    std::fill_n(out, row, 0.0f);
    std::fill_n(counts, num_joints, 0.0f);
    for (std::int64_t frame = parts.begins[part]; frame < parts.ends[part]; ++frame) {
      const float* const from = joints + frame * row;
      for (std::int64_t i = 0; i < row; ++i) out[i] += from[i];
      for (std::int64_t v = 0; v < num_joints; ++v) counts[v] += from[3 * v + 2] > 0.0f ? 1.0f : 0.0f;
    }
    const auto frames = static_cast<float>(parts.ends[part] - parts.begins[part]);
    for (std::int64_t v = 0; v < num_joints; ++v) {
      *presence++ = counts[v] / frames;
      const float share = 1.0f / std::max(counts[v], 1.0f);
      for (std::int64_t i = 3 * v; i < 3 * v + 3; ++i) out[i] *= share;
    }
  }
}

// Gives joints that were filled in the mean score of the person's others, and takes out those that neither
// the clip nor the filter has seen.
void settle_scores(const MotionFilter& filter, const float* counts, std::int64_t clip_len,
                   std::int64_t num_joints, float* joints) {
  double score = 0.0, known = 0.0;
  for (std::int64_t i = 0; i < clip_len * num_joints; ++i) {
    score += double{joints[3 * i + 2]} * double{counts[i]};
    known += double{counts[i]};
  }
  const auto mean = static_cast<float>(score / std::max(known, 1.0));
  for (std::int64_t v = 0; v < num_joints; ++v) {
    bool ever = filter.has_learned(v);
    for (std::int64_t t = 0; t < clip_len; ++t) ever |= counts[t * num_joints + v] > 0.0f;
    for (std::int64_t t = 0; t < clip_len; ++t) {
      float* const joint = joints + 3 * (t * num_joints + v);
      if (!ever) {
        std::fill_n(joint, 3, 0.0f);
      } else if (!(counts[t * num_joints + v] > 0.0f)) {
        joint[2] = mean;
      }
    }
  }
}

}  // namespace

SeenClip see_clip(const float* joints, std::int64_t persons, std::int64_t frames, std::int64_t num_joints,
                  const FrameParts& parts, const MotionFilter* filter, FrontEndMemory& memory, float* out,
                  float* presence) {
  const auto clip_len = static_cast<std::int64_t>(parts.begins.size());
  const std::array<double, 2> white = white_noise(joints, persons, frames, num_joints);
  const std::int64_t first = *std::min_element(parts.begins.begin(), parts.begins.end());
  const std::int64_t last = *std::max_element(parts.ends.begin(), parts.ends.end());
  memory.counts.resize(static_cast<std::size_t>(clip_len * num_joints));
  Spread everyone;
  ToldNoise noise{(white[0] + white[1]) / 2.0, 0.0}, told_sum{};
  double told_persons = 0.0;
  for (std::int64_t person = 0; person < persons; ++person) {
    const float* const track = joints + 3 * person * frames * num_joints;
    float* const sampled = out + 3 * person * clip_len * num_joints;
    mean_frames(track, num_joints, parts, sampled, memory.counts.data(),
                presence + person * clip_len * num_joints);
    const Spread spread = spread_of(track + 3 * first * num_joints, (last - first) * num_joints);
    if (spread.count == 0.0) continue;
    everyone.add(spread);
    if (filter == nullptr) continue;
    const ToldNoise told = filter->filter({sampled,
                                           memory.counts.data(),
                                           {spread.mean[0], spread.mean[1]},
                                           {spread.variance(0), spread.variance(1)},
                                           {white[0], white[1]},
                                           parts.begins.data(),
                                           parts.ends.data(),
                                           frames},
                                          memory.filter);
    settle_scores(*filter, memory.counts.data(), clip_len, num_joints, sampled);
    told_sum.white += told.white;
    told_sum.drift += told.drift;
    ++told_persons;
  }
  std::array<double, 2> taken = white;
  if (filter != nullptr && filter->tells_drift()) {
    noise = {told_sum.white / std::max(told_persons, 1.0), told_sum.drift / std::max(told_persons, 1.0)};
    taken.fill(noise.white + noise.drift);
  }
  const double own =
      std::max(own_variance(everyone.variance(0), taken[0]), own_variance(everyone.variance(1), taken[1]));
  return {noise.white, noise.drift, everyone.mean[0], everyone.mean[1], std::sqrt(own)};
}

void choose_parts(std::int64_t frames, std::int64_t count, const float* drawn, double window,
                  FrameParts& parts, std::int32_t* middles) {
  const auto length = static_cast<double>(frames);
  double start = 0.0, shown = length;
  if (drawn != nullptr) {
    shown = length * (window + double{drawn[0]} * (1.0 - window));
    start = double{drawn[1]} * (length - shown);
  }
  const double step = shown / static_cast<double>(count);
  const auto edge = [&](std::int64_t i) {
    const double moved = drawn != nullptr && i > 0 && i < count ? 0.8 * (double{drawn[i + 1]} - 0.5) : 0.0;
    return start + (static_cast<double>(i) + moved) * step;
  };
  parts.begins.resize(static_cast<std::size_t>(count));
  parts.ends.resize(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) {
    const auto begin = std::min(static_cast<std::int64_t>(std::floor(edge(i))), frames - 1);
    const auto end = std::max(std::min(static_cast<std::int64_t>(std::ceil(edge(i + 1))), frames), begin + 1);
    parts.begins[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(begin);
    parts.ends[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(end);
    middles[i] = static_cast<std::int32_t>((begin + end - 1) / 2);
  }
}

}  // namespace fastpose
