// Results that promise their bits, by one set of instructions: of all operators whatever the threads; of the
// renderer and the sampler, in which no product and sum are joined, also whatever the CPU and the set, so
// that digests of them stand here.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "attention/attention.hpp"
#include "check.hpp"
#include "heatmap/heatmap_gradient.hpp"
#include "heatmap/heatmap_renderer.hpp"
#include "instruction_sets.hpp"
#include "int8_conv/int8_conv.hpp"
#include "norm_depthwise/batch_norm.hpp"
#include "norm_depthwise/depthwise_conv.hpp"
#include "norm_depthwise/norm_depthwise.hpp"
#include "row_conv/row_conv.hpp"
#include "sample/clip_sampler.hpp"
#include "sampled_clips.hpp"
#include "stem/pose_stem.hpp"

namespace {

using namespace fastpose;
using namespace fastpose::testing;
using Bytes = std::vector<std::uint8_t>;

constexpr ElementType kElements[] = {ElementType::kFloat32, ElementType::kFloat16, ElementType::kBFloat16};

// Memory of `count` elements: those of float32 values, or for a result.
struct Array {
  Array(ElementType element, std::int64_t count)
      : bytes(static_cast<std::size_t>(count) * (element == ElementType::kFloat32 ? 4 : 2), 0xFF) {}
  // Halves of either format are the upper halves of the values.
  Array(ElementType element, const std::vector<float>& values)
      : Array(element, static_cast<std::int64_t>(values.size())) {
    const std::size_t size = bytes.size() / values.size();
    for (std::size_t i = 0; i < values.size(); ++i) {
      std::memcpy(bytes.data() + i * size, reinterpret_cast<const char*>(&values[i]) + 4 - size, size);
    }
  }
  void* data() { return bytes.data(); }
  const void* data() const { return bytes.data(); }
  float* floats() { return reinterpret_cast<float*>(bytes.data()); }

  Bytes bytes;
};

template <class... Arrays>
Bytes joined(const Arrays&... arrays) {
  Bytes all;
  (all.insert(all.end(), arrays.bytes.begin(), arrays.bytes.end()), ...);
  return all;
}

// run(threads) returns the bytes of its results.
template <class Run>
Bytes same_with_threads(const Run& run) {
  const Bytes alone = run(1);
  for (const int threads : {2, 5}) CHECK(run(threads) == alone);
  return alone;
}

Array floats(std::int64_t count) {
  return {ElementType::kFloat32, count};
}

void test_batch_norm(ElementType element) {
  constexpr std::int64_t kRows = 20'000, kChannels = 33;
  Uniform uniform;
  const Array x(element, uniform(kRows * kChannels, -1, 1)),
      residual(element, uniform(kRows * kChannels, -1, 1)),
      gradient(element, uniform(kRows * kChannels, -1, 1));
  const std::vector<float> weight = uniform(kChannels, 0.5f, 2), bias = uniform(kChannels, -1, 1);
  same_with_threads([&](int threads) {
    const BatchNorm norm{kRows, kChannels, true, 1e-5f, element, threads};
    Array y(element, kRows * kChannels), dx = y, dresidual = y;
    Array mean = floats(kChannels), variance = mean, dweight = mean, dbias = mean;
    CHECK(batch_norm(norm, {x.data(), residual.data(), weight.data(), bias.data(), y.data(), mean.floats(),
                            variance.floats()}));
    CHECK(batch_norm_backward(
        norm, {gradient.data(), x.data(), y.data(), weight.data(), bias.data(), mean.floats(),
               variance.floats(), dx.data(), dresidual.data(), dweight.floats(), dbias.floats()}));
    return joined(y, mean, variance, dx, dresidual, dweight, dbias);
  });
}

void test_depthwise(ElementType element, const Volume& stride) {
  constexpr std::int64_t kBatch = 3, kChannels = 19, kTaps = 27;
  const Volume input{30, 7, 6};
  DepthwiseConv conv{kBatch, kChannels, input, {3, 3, 3}, stride, element, 1};
  const Volume output = conv.output();
  const std::int64_t in = kBatch * input[0] * input[1] * input[2] * kChannels;
  const std::int64_t out = kBatch * output[0] * output[1] * output[2] * kChannels;
  Uniform uniform;
  const Array x(element, uniform(in, -1, 1)), gradient(element, uniform(out, -1, 1));
  const std::vector<float> weight = uniform(kChannels * kTaps, -1, 1),
                           norm_weight = uniform(kChannels, 0.5f, 2), norm_bias = uniform(kChannels, -1, 1);
  same_with_threads([&](int threads) {
    conv.threads = threads;
    Array y(element, out), dx(element, in), dweight = floats(kChannels * kTaps);
    CHECK(depthwise_conv(conv, nullptr, x.data(), weight.data(), y.data()));
    CHECK(depthwise_conv_gradients(conv, nullptr, x.data(), gradient.data(), weight.data(),
                                   {dx.data(), dweight.floats(), nullptr}));
    const NormDepthwise job{conv, true, 1e-5f};
    Array normed_y(element, out), normed_dx(element, in), normed_dweight = dweight;
    Array mean = floats(kChannels), variance = mean, dnorm_weight = mean, dnorm_bias = mean;
    CHECK(norm_depthwise(job, {x.data(), norm_weight.data(), norm_bias.data(), weight.data(), normed_y.data(),
                               mean.floats(), variance.floats()}));
    CHECK(
        norm_depthwise_backward(job, {gradient.data(), x.data(), norm_weight.data(), norm_bias.data(),
                                      weight.data(), mean.floats(), variance.floats(), normed_dx.data(),
                                      dnorm_weight.floats(), dnorm_bias.floats(), normed_dweight.floats()}));
    return joined(y, dx, dweight, normed_y, normed_dx, normed_dweight, mean, variance, dnorm_weight,
                  dnorm_bias);
  });
}

void test_row_conv() {
  constexpr std::int64_t kBatch = 3, kIn = 19, kOut = 21, kTaps = 9;
  const Volume input{20, 9, 10};
  RowConv conv{kBatch, kIn, kOut, input, {1, 3, 3}, {1, 2, 1}, 1};
  const Volume output = conv.output();
  const std::int64_t in = kBatch * input[0] * input[1] * input[2] * kIn;
  const std::int64_t out = kBatch * output[0] * output[1] * output[2] * kOut;
  Uniform uniform;
  const std::vector<float> x = uniform(in, -1, 1), gradient = uniform(out, -1, 1),
                           weight = uniform(kIn * kOut * kTaps, -1, 1), mean = uniform(kIn, -1, 1),
                           variance = uniform(kIn, 0.5f, 2), of_statistics = uniform(kOut, -1, 1);
  const RowNorm norm{mean.data(), variance.data(), variance.data(), mean.data(), 1e-5f, true};
  same_with_threads([&](int threads) {
    conv.threads = threads;
    Array y = floats(out), y_mean = floats(kOut), y_variance = floats(kOut), dx = floats(in),
          dweight = floats(kIn * kOut * kTaps), dnorm = floats(4 * kIn);
    CHECK(row_conv(conv,
                   {x.data(), norm, weight.data(), y.floats(), y_mean.floats(), y_variance.floats(), {}}));
    CHECK(row_conv_backward(
        conv, {x.data(), norm, weight.data(), y.floats(), y_mean.floats(), gradient.data(),
               of_statistics.data(), of_statistics.data(), dx.floats(), dweight.floats(), dnorm.floats()}));
    return joined(y, y_mean, y_variance, dx, dweight, dnorm);
  });
}

void test_int8_conv() {
  constexpr std::int64_t kBatch = 3, kIn = 20, kOut = 32, kTaps = 9;
  RowConv conv{kBatch, kIn, kOut, {20, 9, 10}, {1, 3, 3}, {1, 2, 1}, 1};
  const Volume output = conv.output();
  Uniform uniform;
  const std::vector<float> x = uniform(kBatch * 20 * 9 * 10 * kIn, -1, 1),
                           sums = uniform(kTaps * kOut, -1, 1), scale = uniform(kOut, -1, 1);
  std::vector<std::int8_t> weights;
  for (const float value : uniform(kTaps * kIn * kOut, -127, 127)) {
    weights.push_back(static_cast<std::int8_t>(value));
  }
  same_with_threads([&](int threads) {
    conv.threads = threads;
    Array y = floats(kBatch * output[0] * output[1] * output[2] * kOut);
    CHECK(int8_conv(
        conv,
        {x.data(), weights.data(), sums.data(), {scale.data(), scale.data(), nullptr, true}, y.floats()}));
    return joined(y);
  });
}

void test_attention(ElementType element) {
  constexpr std::int64_t kOuter = 9, kLength = 17, kInner = 4, kHeads = 2, kDim = 13;
  constexpr std::int64_t kTokens = kOuter * kLength * kInner * kHeads * kDim;
  Uniform uniform;
  const Array qkv(element, uniform(3 * kTokens, -1, 1)), gradient(element, uniform(kTokens, -1, 1));
  same_with_threads([&](int threads) {
    const Attention attention{kOuter, kLength, kInner, kHeads, kDim, element, threads};
    Array output(element, kTokens), dqkv(element, 3 * kTokens);
    CHECK(attend(attention, qkv.data(), output.data()));
    CHECK(attend_backward(attention, qkv.data(), gradient.data(), dqkv.data()));
    return joined(output, dqkv);
  });
}

// Two persons of three joints whose distances are whole numbers, as hypot finds them exactly; they overlap,
// reach over the edges, are faint or missing.
struct Poses {
  static constexpr std::int64_t kBatch = 5, kPersons = 2, kFrames = 7, kJoints = 3;

  Poses() {
    Uniform uniform;
    for (std::int64_t pose = 0; pose < kBatch * kPersons * kFrames; ++pose) {
      const float x = uniform() * 40 - 4, y = uniform() * 30 - 4;
      const float whole = static_cast<float>(static_cast<int>(uniform() * 3));
      for (const auto& [right, down] : {std::pair{0.0f, 0.0f}, {3 * whole, 4 * whole}, {12.0f, -5.0f}}) {
        const float score = uniform();
        // Sixteenths: sums with whole numbers are exact.
        for (const float value :
             {static_cast<float>(static_cast<int>(x * 16)) / 16 + right,
              static_cast<float>(static_cast<int>(y * 16)) / 16 + down, score < 0.1f ? 0.0f : score}) {
          keypoints.push_back(value);
        }
      }
    }
  }

  PoseMaps maps(HeatmapMode mode) const {
    return {keypoints.data(),
            kBatch,
            kPersons,
            kFrames,
            kJoints,
            23,
            37,
            1.1,
            mode,
            mode == HeatmapMode::kLimb ? std::span<const Limb>(kLimbs) : std::span<const Limb>()};
  }

  static constexpr Limb kLimbs[] = {{0, 1}, {2, 0}};
  std::vector<float> keypoints;
};

void test_stem(HeatmapMode mode, ElementType element) {
  const Poses poses;
  PoseStem stem{poses.maps(mode), 12, {3, 5, 4}, {1, 2, 1}, {1, 2, 1}, element, 1};
  const Volume output = stem.output();
  const std::int64_t out = Poses::kBatch * output[0] * output[1] * output[2] * stem.out_channels;
  const std::int64_t weights = stem.out_channels * stem.maps.channels() * 3 * 5 * 4;
  Uniform uniform;
  const std::vector<float> weight = uniform(weights, -1, 1);
  const Array gradient(element, uniform(out, -1, 1));
  same_with_threads([&](int threads) {
    stem.threads = threads;
    Array y(element, out), dweight = floats(weights),
                           dposes = floats(static_cast<std::int64_t>(poses.keypoints.size()));
    CHECK(pose_stem(stem, weight.data(), y.data()));
    CHECK(pose_stem_weight_gradient(stem, gradient.data(), dweight.floats()));
    CHECK(pose_stem_keypoint_gradient(stem, weight.data(), gradient.data(), dposes.floats()));
    return joined(y, dweight, dposes);
  });
}

// FNV-1a of 64 bits.
std::uint64_t digest(const Bytes& bytes) {
  std::uint64_t hash = 0xCBF29CE484222325u;
  for (const std::uint8_t byte : bytes) hash = (hash ^ byte) * 0x100000001B3u;
  return hash;
}

bool recorded(const char* name, const Bytes& bytes, std::uint64_t expected) {
  const std::uint64_t found = digest(bytes);
  if (found != expected) {
    std::fprintf(stderr, "%s: digest 0x%016llX, recorded 0x%016llX\n", name,
                 static_cast<unsigned long long>(found), static_cast<unsigned long long>(expected));
  }
  return found == expected;
}

// Maps in all formats and both layouts.
Bytes rendered(HeatmapMode mode) {
  const Poses poses;
  const PoseMaps maps = poses.maps(mode);
  return same_with_threads([&](int threads) {
    Bytes all;
    for (const ElementType element : kElements) {
      for (const HeatmapLayout layout : {HeatmapLayout::kContiguous, HeatmapLayout::kChannelsLast}) {
        Array output(element, maps.batch * maps.channels() * maps.frames * maps.height * maps.width);
        CHECK(render_heatmaps({maps, element, layout, output.data(), threads}));
        all.insert(all.end(), output.bytes.begin(), output.bytes.end());
      }
    }
    return all;
  });
}

Bytes render_gradients(HeatmapMode mode) {
  const Poses poses;
  const PoseMaps maps = poses.maps(mode);
  const std::int64_t row = maps.width, plane = row * maps.height, volume = plane * maps.frames;
  Uniform uniform;
  const std::vector<float> values = uniform(maps.batch * maps.channels() * volume, -1, 1);
  return same_with_threads([&](int threads) {
    Bytes all;
    for (const ElementType element : kElements) {
      const Array gradient(element, values);
      Array result = floats(static_cast<std::int64_t>(poses.keypoints.size()));
      CHECK(render_heatmaps_backward({.maps = maps,
                                      .element = element,
                                      .gradient = gradient.data(),
                                      .strides = {volume * maps.channels(), volume, plane, row, 1},
                                      .result = result.floats(),
                                      .threads = threads}));
      all.insert(all.end(), result.bytes.begin(), result.bytes.end());
    }
    return all;
  });
}

// Noised and mirrored, each clip once by each of the families alone.
Bytes sampled(const std::vector<NoiseFamily>& families) {
  constexpr std::int64_t kClipLength = 8, kPersons = 2;
  const Clips clips;
  std::vector<std::int64_t> order;
  for (std::int64_t i = 0; i < Clips::kCount; ++i) order.push_back(Clips::kCount - 1 - i);
  const std::vector<double> low(Clips::kCount, 0.05), high(Clips::kCount, 0.2);
  const ClipSampler sampler(clips.view(), settings(kClipLength, 56, 64), 11, true, nullptr);
  return same_with_threads([&](int threads) {
    Bytes all;
    for (const NoiseFamily& family : families) {
      Array poses = floats(Clips::kCount * kPersons * kClipLength * Clips::kJoints * 3),
            indices = floats(Clips::kCount * kClipLength), draws = floats(Clips::kCount * kInputDraws);
      sampler.sample(
          {Clips::kCount, order.data(), low.data(), high.data(), 3, 1, true, Flip::kDrawn, {&family, 1}},
          threads, poses.floats(), reinterpret_cast<std::int32_t*>(indices.data()), draws.floats(), nullptr,
          nullptr);
      const Bytes some = joined(poses, indices, draws);
      all.insert(all.end(), some.begin(), some.end());
    }
    return all;
  });
}

// Whole noised clips hold what a sampler of all their frames gives, where it crops nothing.
void test_noised_clips() {
  constexpr std::uint64_t kSeed = 11;
  constexpr std::uint32_t kStream = 3;
  const Clips clips;
  const std::vector<NoiseFamily> families = all_families();
  NoisedClip noised;
  for (const double alpha : {0.0, 0.1, 0.3, 1000.0}) {
    for (const NoiseFamily& family : families) {
      for (std::int64_t clip = 0; clip < Clips::kCount; ++clip) {
        const ClipRandom random(kSeed, clips.hashes[clip], 0, kStream);
        read_noised_clip(clips.view(), clip,
                         ClipNoise::draw(clips.view(), clip, random, alpha, alpha, {&family, 1}), 2, noised);
        CHECK(noised.persons == std::min(clips.persons[clip], 2));
        CHECK(noised.frames == std::ssize(noised.places) && noised.frames >= 1);
        const ClipSampler sampler(clips.view(), settings(static_cast<double>(noised.frames), 1920, 1920),
                                  kSeed, false, nullptr);
        Array poses = floats(2 * noised.frames * Clips::kJoints * 3);
        std::vector<std::int32_t> frames(noised.places.size());
        sampler.sample({1, &clip, &alpha, &alpha, 0, kStream, false, Flip::kNever, {&family, 1}}, 1,
                       poses.floats(), frames.data(), nullptr, nullptr, nullptr);
        CHECK(frames == noised.places);
        CHECK(std::memcmp(poses.data(), noised.joints.data(), 4 * noised.joints.size()) == 0);
      }
    }
  }
}

// Samples through a front end with all its parts are finite, and the same with any number of threads.
void test_front_end() {
  constexpr std::int64_t kClipLength = 7, kPersons = 2;
  const Clips clips;
  const Prior known(kClipLength);
  const MotionPriorView prior = known.view();
  SettingNumbers numbers = settings(kClipLength, 56, 64);
  numbers["frame_rule"] = {2};
  numbers["crop"] = {2};
  numbers["evidence"] = {1};
  std::vector<std::int64_t> order;
  for (std::int64_t i = 0; i < Clips::kCount; ++i) order.push_back(i);
  const std::vector<NoiseFamily> families = all_families();
  for (const double filter : {0.0, 1.0, 2.0}) {
    numbers["motion_filter"] = {filter};
    const ClipSampler sampler(clips.view(), numbers, 11, true, &prior);
    for (const double alpha : {0.0, 0.2, 1000.0}) {
      const std::vector<double> alphas(Clips::kCount, alpha);
      same_with_threads([&](int threads) {
        constexpr std::int64_t kJoints = Clips::kCount * kPersons * kClipLength * Clips::kJoints;
        Array poses = floats(3 * kJoints), frames = floats(Clips::kCount * kClipLength),
              presence = floats(kJoints), levels = floats(2 * Clips::kCount);
        sampler.sample(
            {Clips::kCount, order.data(), alphas.data(), alphas.data(), 3, 1, true, Flip::kDrawn, families},
            threads, poses.floats(), reinterpret_cast<std::int32_t*>(frames.data()), nullptr,
            presence.floats(), levels.floats());
        for (std::int64_t i = 0; i < 3 * kJoints; ++i) CHECK(std::isfinite(poses.floats()[i]));
        for (std::int64_t i = 0; i < kJoints; ++i)
          CHECK(presence.floats()[i] >= 0.0f && presence.floats()[i] <= 1.0f);
        for (std::int64_t i = 0; i < 2 * Clips::kCount; ++i) CHECK(std::isfinite(levels.floats()[i]));
        return joined(poses, presence, levels);
      });
    }
  }
}

void test_digests() {
  bool all = true;
  all &= recorded("heatmaps", rendered(HeatmapMode::kHeatmap), 0x161B9BBA8288A8DD);
  all &= recorded("limb maps", rendered(HeatmapMode::kLimb), 0xBDF9F1966D9CB891);
  all &= recorded("sums", rendered(HeatmapMode::kGrayscaleSum), 0x027F10611F021AA9);
  all &= recorded("maxima", rendered(HeatmapMode::kGrayscaleMax), 0x2750A85062435515);
  all &= recorded("gradients of heatmaps", render_gradients(HeatmapMode::kHeatmap), 0x8C366D1962DC2424);
  all &= recorded("gradients of limb maps", render_gradients(HeatmapMode::kLimb), 0xBF2E4191E8D56B57);
  all &= recorded("gradients of maxima", render_gradients(HeatmapMode::kGrayscaleMax), 0x089C623DDB0C2D6D);
  all &= recorded("sampled clips", sampled({NoiseFamily::kGaussian}), 0x813030E9D937F7FD);
  all &= recorded("sampled clips of all families", sampled(all_families()), 0x24A775A00AD6E39D);
  CHECK(all);
}

}  // namespace

int main(int argc, char** argv) {
  use_instructions(argc, argv);
  for (const ElementType element : {ElementType::kFloat32, ElementType::kBFloat16}) {
    test_batch_norm(element);
    test_depthwise(element, {1, 1, 1});
    test_depthwise(element, {1, 2, 2});
    test_attention(element);
    test_stem(HeatmapMode::kHeatmap, element);
    test_stem(HeatmapMode::kLimb, element);
    test_stem(HeatmapMode::kGrayscaleSum, element);
  }
  test_row_conv();
  test_int8_conv();
  test_noised_clips();
  test_front_end();
  test_digests();
}
