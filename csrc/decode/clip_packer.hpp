// Many `.skeleton` files to flat arrays of 2D keypoints, on several threads.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace fastpose {

// n files; the rows of a file are its [M, T], person-major, files in the order given.
struct PackedSkeletons {
  std::vector<float> keypoints;           // [rows, 25, 2] colorX, colorY in pixels of 1920x1080
  std::vector<float> scores;              // [rows, 25] 1 tracked, 0.5 inferred, 0 lost or no such person
  std::vector<std::int32_t> num_persons;  // [n] M; 0 where the file failed or holds no body
  std::vector<std::int32_t> num_frames;   // [n] T, likewise
  std::vector<std::string> errors;        // [n] one sentence with the path, or empty
  std::vector<std::int64_t> lost_joints;  // [n] joints lost to non-finite numbers
  std::int64_t bytes = 0;                 // read in all
};

// Reads, parses and selects the bodies of every file. The result does not depend on `threads` (<= 0: as many
// as the process may run). Throws nothing but std::bad_alloc, for the arrays it returns.
PackedSkeletons pack_skeletons(const std::vector<std::string>& paths, int max_bodies, int threads);

}  // namespace fastpose
