// NTU RGB+D `.skeleton` text (Kinect v2) to arrays. Never throws, allocates no more than a few times the
// text's size whatever its counts promise, and knows no locale.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace fastpose {

constexpr int kJoints = 25;
// x y z (metres), depthX depthY (pixels of 512x424), colorX colorY (pixels of 1920x1080), orientation w x y
// z, trackingState (0 lost, 1 inferred, 2 tracked).
constexpr int kJointFields = 12;
constexpr int kBodyFloats = kJoints * kJointFields;

struct SkeletonBody {
  std::uint64_t id = 0;
  std::vector<std::int32_t> frames;  // [n] frame numbers from 0, increasing
  std::vector<float> joints;         // [n, 25, 12]
};

struct Skeleton {
  std::int32_t num_frames = 0;
  std::int64_t lost_joints = 0;      // joints with a non-finite number; all their fields are 0
  std::vector<SkeletonBody> bodies;  // in order of first appearance
};

enum class ParseErrorCode {
  kNone,
  kBadCount,          // no whole number where a count or a body id should be
  kBadNumber,         // no number where one should be
  kNotFinite,         // NaN, inf or overflow outside a joint
  kLineTooLong,       // something after the last field of a line
  kWrongJointCount,   // not 25
  kCountExceedsFile,  // a count of frames or bodies for which the rest of the file is too short
  kDuplicateBody,     // a body id twice in one frame
  kTrailingText,      // something after the last frame
  kOutOfMemory,
};

struct ParseError {
  ParseErrorCode code = ParseErrorCode::kNone;
  std::int64_t line = 0;    // from 1
  std::int64_t column = 0;  // in bytes, from 1
  std::string expected;
  std::string found;

  // "line 5, column 20: expected colorX (number 6 of a joint's 12), found 'abc'"
  std::string message() const;
};

// Parses [text, text + size) into `skeleton`, whose former content is lost. On an error the code is not kNone
// and `skeleton` holds no bodies.
ParseError parse_skeleton(const char* text, std::size_t size, Skeleton& skeleton) noexcept;

}  // namespace fastpose
