#include "decode/clip_packer.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "base/guarded.hpp"
#include "base/thread_pool.hpp"
#include "decode/body_selector.hpp"
#include "decode/skeleton_parser.hpp"

namespace fastpose {
namespace {

constexpr int kColorX = 5;
constexpr int kTrackingState = 11;
constexpr std::size_t kLargestKept = 1 << 24;  // bytes

struct PackedClip {
  std::vector<float> keypoints;
  std::vector<float> scores;
  std::int32_t num_persons = 0;
  std::int32_t num_frames = 0;
  std::int64_t lost_joints = 0;
  std::int64_t bytes = 0;
  std::string error;
};

// A file's content, in memory that serves for the next file too: fresh pages cost as much as parsing.
struct FileText {
  std::vector<char> buffer;
  std::size_t size = 0;

  // Returns why the file cannot be read, or an empty string.
  std::string read(const char* path) {
    size = 0;
    if (buffer.size() > kLargestKept) buffer = {};
    const int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // a pipe must not block
    if (file < 0) return std::generic_category().message(errno);
    const std::string reason = read_all(file);
    close(file);
    return reason;
  }

 private:
  std::string read_all(int file) {
    struct stat status{};
    if (fstat(file, &status) != 0) return std::generic_category().message(errno);
    if (!S_ISREG(status.st_mode)) return "not a regular file";
    // One byte more than the size, so that the end of the file shows without growing.
    const std::size_t promised = static_cast<std::size_t>(status.st_size) + 1;
    if (buffer.size() < promised) buffer.resize(promised);
    for (;;) {
      if (size == buffer.size()) buffer.resize(2 * size);
      const ssize_t got = ::read(file, buffer.data() + size, buffer.size() - size);
      if (got == 0) return "";
      if (got > 0) {
        size += static_cast<std::size_t>(got);
      } else if (errno != EINTR) {
        return std::generic_category().message(errno);
      }
    }
  }
};

float score_of(float tracking_state) {
  return tracking_state == 2 ? 1.0F : tracking_state == 1 ? 0.5F : 0.0F;
}

void fill_clip(const BodySelection& selection, PackedClip& clip) {
  clip.num_persons = selection.num_persons;
  clip.num_frames = static_cast<std::int32_t>(selection.frames.size());
  clip.keypoints.resize(selection.bodies.size() * kJoints * 2);
  clip.scores.resize(selection.bodies.size() * kJoints);
  float* keypoint = clip.keypoints.data();
  float* score = clip.scores.data();
  for (const float* joint : selection.bodies) {
    if (joint == nullptr) {
      keypoint += 2 * kJoints;
      score += kJoints;
      continue;
    }
    for (int i = 0; i < kJoints; ++i, joint += kJointFields) {
      *keypoint++ = joint[kColorX];
      *keypoint++ = joint[kColorX + 1];
      *score++ = score_of(joint[kTrackingState]);
    }
  }
}

void pack_clip(const std::string& path, int max_bodies, FileText& text, PackedClip& clip) {
  if (const std::string reason = text.read(path.c_str()); !reason.empty()) {
    clip.error = path + ": cannot be read: " + reason;
    return;
  }
  clip.bytes = static_cast<std::int64_t>(text.size);
  Skeleton skeleton;
  const ParseError error = parse_skeleton(text.buffer.data(), text.size, skeleton);
  if (error.code != ParseErrorCode::kNone) {
    clip.error = path + ": " + error.message();
    return;
  }
  clip.lost_joints = skeleton.lost_joints;
  if (skeleton.bodies.empty()) {
    clip.error = path + ": no body in any of its " + std::to_string(skeleton.num_frames) + " frames";
    return;
  }
  fill_clip(select_bodies(tracks_of(skeleton), skeleton.num_frames, max_bodies), clip);
}

void pack_clip_or_fail(const std::string& path, int max_bodies, FileText& text, PackedClip& clip) noexcept {
  if (guarded([&] { pack_clip(path, max_bodies, text, clip); })) return;
  clip = PackedClip{};
  clip.error = "not enough memory";  // short enough to need none
}

PackedSkeletons joined(std::vector<PackedClip>& clips, int threads) {
  const std::size_t n = clips.size();
  std::vector<std::size_t> first_row(n + 1);
  PackedSkeletons packed;
  for (std::size_t i = 0; i < n; ++i) {
    const PackedClip& clip = clips[i];
    first_row[i + 1] = first_row[i] + clip.scores.size() / kJoints;
    packed.num_persons.push_back(clip.num_persons);
    packed.num_frames.push_back(clip.num_frames);
    packed.lost_joints.push_back(clip.lost_joints);
    packed.bytes += clip.bytes;
    packed.errors.push_back(std::move(clips[i].error));
  }
  packed.keypoints.resize(first_row[n] * kJoints * 2);
  packed.scores.resize(first_row[n] * kJoints);
  parallel_for(static_cast<std::int64_t>(n), threads, 16, [&](std::int64_t begin, std::int64_t end) {
    for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
      std::copy(clips[i].keypoints.begin(), clips[i].keypoints.end(),
                packed.keypoints.data() + first_row[i] * kJoints * 2);
      std::copy(clips[i].scores.begin(), clips[i].scores.end(),
                packed.scores.data() + first_row[i] * kJoints);
    }
  });
  return packed;
}

}  // namespace

PackedSkeletons pack_skeletons(const std::vector<std::string>& paths, int max_bodies, int threads) {
  std::vector<PackedClip> clips(paths.size());
  parallel_for(static_cast<std::int64_t>(paths.size()), threads, 1,
               [&](std::int64_t begin, std::int64_t end) {
                 thread_local FileText text;
                 for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
                   pack_clip_or_fail(paths[i], max_bodies, text, clips[i]);
                 }
               });
  return joined(clips, threads);
}

}  // namespace fastpose
