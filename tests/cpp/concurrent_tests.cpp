// Several threads pack and sample at once, each on several threads of the one pool, and get what one alone
// gets. What the thread sanitizer is for.
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "check.hpp"
#include "decode/clip_packer.hpp"
#include "sample/clip_sampler.hpp"
#include "sampled_clips.hpp"
#include "skeleton_text.hpp"

namespace {

using namespace fastpose;
using namespace fastpose::testing;

constexpr int kCallers = 4, kRounds = 8, kThreads = 3;

// Runs work() on several threads at once.
template <class Work>
void at_once(const Work& work) {
  std::vector<std::thread> callers;
  for (int i = 0; i < kCallers; ++i) {
    callers.emplace_back([&] {
      for (int round = 0; round < kRounds; ++round) work();
    });
  }
  for (std::thread& caller : callers) caller.join();
}

// Good files, one that is cut, one that is missing.
struct Files {
  Files() {
    CHECK(mkdtemp(folder) != nullptr);
    for (unsigned i = 0; i < 12; ++i) {
      paths.push_back(std::string(folder) + "/" + std::to_string(i));
      const std::string text = skeleton_text({.frames = static_cast<int>(1 + i), .body_ids = {1, 2}}, i);
      std::ofstream(paths.back()) << (i == 5 ? text.substr(0, text.size() / 2) : text);
    }
    paths.push_back(std::string(folder) + "/missing");
  }
  ~Files() {
    for (const std::string& path : paths) unlink(path.c_str());
    rmdir(folder);
  }

  char folder[40] = "/tmp/fastpose_concurrent_tests_XXXXXX";
  std::vector<std::string> paths;
};

void test_packer() {
  const Files files;
  const PackedSkeletons alone = pack_skeletons(files.paths, 2, 1);
  CHECK(!alone.keypoints.empty() && !alone.errors[5].empty() && !alone.errors.back().empty());
  at_once([&] {
    const PackedSkeletons packed = pack_skeletons(files.paths, 2, kThreads);
    CHECK(packed.keypoints == alone.keypoints && packed.scores == alone.scores);
    CHECK(packed.num_frames == alone.num_frames && packed.errors == alone.errors);
  });
}

struct Sampled {
  bool operator==(const Sampled&) const = default;

  std::vector<float> keypoints, draws, presence, levels;
  std::vector<std::int32_t> frames;
};

Sampled sampled(const ClipSampler& sampler, std::int64_t clip_length, int threads) {
  constexpr std::int64_t kBatch = 2 * Clips::kCount;
  const std::vector<double> low(kBatch, 0.05), high(kBatch, 0.2);
  std::vector<std::int64_t> indices;
  for (std::int64_t i = 0; i < kBatch; ++i) indices.push_back(i % Clips::kCount);
  const auto joints = static_cast<std::size_t>(kBatch * 2 * clip_length * Clips::kJoints);
  Sampled batch{std::vector<float>(3 * joints), std::vector<float>(kBatch * kInputDraws),
                std::vector<float>(joints), std::vector<float>(2 * kBatch),
                std::vector<std::int32_t>(static_cast<std::size_t>(kBatch * clip_length))};
  const std::vector<NoiseFamily> families = all_families();
  sampler.sample({kBatch, indices.data(), low.data(), high.data(), 3, 1, true, Flip::kDrawn, families},
                 threads, batch.keypoints.data(), batch.frames.data(), batch.draws.data(),
                 batch.presence.data(), batch.levels.data());
  return batch;
}

// One sampler serves all callers.
void test_sampler(bool with_filter) {
  constexpr std::int64_t kClipLength = 8;
  const Clips clips;
  const Prior known(kClipLength);
  const MotionPriorView prior = known.view();
  SettingNumbers numbers = settings(kClipLength, 56, 64);
  if (with_filter) numbers["motion_filter"] = {2};
  const ClipSampler sampler(clips.view(), numbers, 11, true, &prior);
  const Sampled alone = sampled(sampler, kClipLength, 1);
  at_once([&] { CHECK(sampled(sampler, kClipLength, kThreads) == alone); });
}

void test_differences() {
  const Clips clips;
  at_once([&] {
    std::vector<double> differences(Clips::kCount);
    total_differences(clips.keypoints.data(), clips.scores.data(), clips.offsets.data(), clips.frames.data(),
                      Clips::kCount, Clips::kJoints, kThreads, differences.data());
    CHECK(differences == clips.differences);
  });
}

// All of it beside each other.
void test_together() {
  std::vector<std::thread> tests;
  tests.emplace_back(test_packer);
  tests.emplace_back([] { test_sampler(false); });
  tests.emplace_back([] { test_sampler(true); });
  tests.emplace_back(test_differences);
  for (std::thread& test : tests) test.join();
}

}  // namespace

int main() {
  test_packer();
  test_sampler(false);
  test_sampler(true);
  test_differences();
  test_together();
}
