#include "decode/body_selector.hpp"

#include <algorithm>
#include <array>
#include <cassert>
#include <limits>

namespace fastpose {
namespace {

constexpr std::int64_t kLongestNoise = 11;    // frames
constexpr double kWidestPerHeight = 0.8;      // x-range over y-range of a frame that is not noisy
constexpr double kLeastNoisyShare = 0.69754;  // of frames, from which a body is dropped

bool is_lost(const float* joint) {
  return std::all_of(joint, joint + kJointFields, [](float field) { return field == 0; });
}

// Count, means and sums of squared deviations of x, y, z (Welford's and Chan's formulas).
struct Moments {
  double count = 0;
  std::array<double, 3> mean{};
  std::array<double, 3> deviation{};

  void add(const float* point) {
    ++count;
    for (std::size_t axis = 0; axis < 3; ++axis) {
      const double step = point[axis] - mean[axis];
      mean[axis] += step / count;
      deviation[axis] += step * (point[axis] - mean[axis]);
    }
  }

  void add(const Moments& other) {
    if (other.count == 0) return;
    const double total = count + other.count;
    for (std::size_t axis = 0; axis < 3; ++axis) {
      const double step = other.mean[axis] - mean[axis];
      mean[axis] += step * (other.count / total);
      deviation[axis] += other.deviation[axis] + step * step * (count * other.count / total);
    }
    count = total;
  }

  double variance() const { return count == 0 ? 0 : (deviation[0] + deviation[1] + deviation[2]) / count; }
};

struct Candidate {
  const BodyTrack* track;
  double noisy_share;
  double motion;  // square metres
};

Candidate assess(const BodyTrack& track) {
  Moments all;
  Moments quiet;
  std::int64_t noisy_frames = 0;
  for (std::int64_t i = 0; i < track.num_frames; ++i) {
    const float* body = track.joints + i * kBodyFloats;
    Moments frame;
    double low[2], high[2];
    std::fill_n(low, 2, std::numeric_limits<double>::infinity());
    std::fill_n(high, 2, -std::numeric_limits<double>::infinity());
    for (const float* joint = body; joint != body + kBodyFloats; joint += kJointFields) {
      if (is_lost(joint)) continue;
      frame.add(joint);
      for (int axis = 0; axis < 2; ++axis) {
        low[axis] = std::min<double>(low[axis], joint[axis]);
        high[axis] = std::max<double>(high[axis], joint[axis]);
      }
    }
    all.add(frame);
    const bool noisy = frame.count > 0 && high[0] - low[0] > kWidestPerHeight * (high[1] - low[1]);
    if (noisy) {
      ++noisy_frames;
    } else {
      quiet.add(frame);
    }
  }
  const double motion = quiet.count == 0 ? all.variance() : std::min(all.variance(), quiet.variance());
  return {&track, static_cast<double>(noisy_frames) / static_cast<double>(track.num_frames), motion};
}

const BodyTrack* longest(const std::vector<BodyTrack>& tracks) {
  return &*std::max_element(tracks.begin(), tracks.end(), [](const BodyTrack& a, const BodyTrack& b) {
    return a.num_frames < b.num_frames;
  });
}

// The bodies that pass the rules, by falling motion; at least one if there is any.
std::vector<const BodyTrack*> surviving_tracks(const std::vector<BodyTrack>& tracks) {
  if (tracks.size() <= 1)
    return tracks.empty() ? std::vector<const BodyTrack*>{} : std::vector{tracks.data()};
  std::vector<Candidate> candidates;
  for (const BodyTrack& track : tracks) {
    if (track.num_frames <= kLongestNoise) continue;
    const Candidate candidate = assess(track);
    if (candidate.noisy_share < kLeastNoisyShare) candidates.push_back(candidate);
  }
  if (candidates.empty()) return {longest(tracks)};
  std::stable_sort(candidates.begin(), candidates.end(),
                   [](const Candidate& a, const Candidate& b) { return a.motion > b.motion; });
  std::vector<const BodyTrack*> survivors;
  for (const Candidate& candidate : candidates) survivors.push_back(candidate.track);
  return survivors;
}

// The body of an actor in every frame of the file, null where absent.
using Actor = std::vector<const float*>;

bool shares_frame(const Actor& actor, const BodyTrack& track) {
  return std::any_of(track.frames, track.frames + track.num_frames,
                     [&](std::int32_t frame) { return actor[static_cast<std::size_t>(frame)] != nullptr; });
}

void join(Actor& actor, const BodyTrack& track) {
  for (std::int64_t i = 0; i < track.num_frames; ++i) {
    actor[static_cast<std::size_t>(track.frames[i])] = track.joints + i * kBodyFloats;
  }
}

}  // namespace

std::vector<BodyTrack> tracks_of(const Skeleton& skeleton) {
  std::vector<BodyTrack> tracks;
  for (const SkeletonBody& body : skeleton.bodies) {
    tracks.push_back({body.frames.data(), body.joints.data(), static_cast<std::int64_t>(body.frames.size())});
  }
  return tracks;
}

BodySelection select_bodies(const std::vector<BodyTrack>& tracks, std::int32_t num_frames, int max_bodies) {
  assert(max_bodies >= 1);
  BodySelection selection;
  const std::vector<const BodyTrack*> survivors = surviving_tracks(tracks);
  if (survivors.empty()) return selection;

  const auto length = static_cast<std::size_t>(num_frames);
  std::vector<Actor> actors(survivors.size() == 1 ? 1 : static_cast<std::size_t>(max_bodies), Actor(length));
  for (const BodyTrack* track : survivors) {
    const auto actor = std::find_if(actors.begin(), actors.end(),
                                    [&](const Actor& candidate) { return !shares_frame(candidate, *track); });
    if (actor != actors.end()) join(*actor, *track);
  }

  std::vector<bool> has_body(length);
  for (const BodyTrack& track : tracks) {
    for (std::int64_t i = 0; i < track.num_frames; ++i)
      has_body[static_cast<std::size_t>(track.frames[i])] = true;
  }
  const auto has_actor = [&](std::size_t frame) {
    return std::any_of(actors.begin(), actors.end(),
                       [&](const Actor& actor) { return actor[frame] != nullptr; });
  };
  std::size_t first = 0;
  std::size_t last = length - 1;  // both ends exist: the first survivor is an actor
  while (!has_actor(first)) ++first;
  while (!has_actor(last)) --last;
  for (std::size_t frame = first; frame <= last; ++frame) {
    if (has_body[frame]) selection.frames.push_back(static_cast<std::int32_t>(frame));
  }
  if (actors.size() > 1 && actors[0][first] == nullptr && actors[1][first] != nullptr) {
    std::swap(actors[0], actors[1]);
  }

  selection.num_persons = static_cast<std::int32_t>(actors.size());
  selection.bodies.reserve(actors.size() * selection.frames.size());
  for (const Actor& actor : actors) {
    for (const std::int32_t frame : selection.frames) {
      selection.bodies.push_back(actor[static_cast<std::size_t>(frame)]);
    }
  }
  return selection;
}

}  // namespace fastpose
