// Chooses the bodies of a clip: drops the sensor's phantom bodies and joins the rest into a few actors.
#pragma once

#include <cstdint>
#include <vector>

#include "decode/skeleton_parser.hpp"

namespace fastpose {

// One body's track; points into memory of the caller.
struct BodyTrack {
  const std::int32_t* frames;  // [n] frame numbers, increasing
  const float* joints;         // [n, 25, 12]; a joint whose 12 fields are all 0 is lost
  std::int64_t num_frames;     // n, at least 1
};

struct BodySelection {
  std::int32_t num_persons = 0;      // M
  std::vector<std::int32_t> frames;  // [T] frame numbers in the file
  std::vector<const float*> bodies;  // [M, T]: the 25x12 floats of that person in that frame, or null
};

// The tracks of a parsed file, valid while `skeleton` is.
std::vector<BodyTrack> tracks_of(const Skeleton& skeleton);

// The published rules for NTU RGB+D, with repairs, in order:
// - no body at all: M = T = 0; a lone body is taken whole (M = 1);
// - bodies of at most 11 frames are dropped, then those of which too large a share of frames is noisy (wider
//   than 0.8 of their height); where that would drop all of them, the longest stays;
// - the rest, by falling motion (variance of x, y and z), each join the first actor that shares no frame with
//   them, or are dropped; M = 1 if only one body was left, else max_bodies;
// - frames without any body in the file are left out; leading and trailing frames without an actor too;
// - if actor 1 is absent from the first frame and actor 2 is not, they change places.
// Ties go to the earlier body. Frame numbers are below num_frames; all joints are finite; max_bodies >= 1.
BodySelection select_bodies(const std::vector<BodyTrack>& tracks, std::int32_t num_frames, int max_bodies);

}  // namespace fastpose
