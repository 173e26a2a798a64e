// The stem against rendered maps and their convolution in float64, by one set of instructions.
#include <array>
#include <vector>

#include "arrays.hpp"
#include "check.hpp"
#include "heatmap/heatmap_gradient.hpp"
#include "heatmap/heatmap_renderer.hpp"
#include "instruction_sets.hpp"
#include "stem/pose_stem.hpp"

namespace {

using namespace fastpose;

// Figures that overlap, partly outside the image; some joints missing.
Values draw_keypoints(const PoseMaps& maps) {
  Values keypoints = draw(maps.batch * maps.persons * maps.frames * maps.joints * 3);
  for (std::size_t i = 0; i < keypoints.size(); i += 3) {
    keypoints[i] = (0.5f + 0.3f * keypoints[i]) * static_cast<float>(maps.width);
    keypoints[i + 1] = (0.5f + 0.3f * keypoints[i + 1]) * static_cast<float>(maps.height);
    keypoints[i + 2] = std::abs(keypoints[i + 2]) < 0.2f ? 0.0f : std::abs(keypoints[i + 2]);
  }
  return keypoints;
}

// What the definition makes of the maps, the weights and the output's gradient.
struct Convolution {
  Truth output, dmaps, dweight;
};

Convolution convolve(const PoseStem& stem, const Values& maps, const Values& weight, const Values& gradient) {
  const Volume in = stem.input(), out = stem.output();
  const std::int64_t channels = stem.maps.channels(), outs = stem.out_channels;
  Convolution truth{Truth(gradient.size()), Truth(maps.size()), Truth(weight.size())};
  std::int64_t at = 0;
  std::array<std::int64_t, 9> index;  // batch, t, y, x, out channel, channel, kt, ky, kx
  const std::array<std::int64_t, 9> sizes{stem.maps.batch, out[0],         out[1],
                                          out[2],          outs,           channels,
                                          stem.kernel[0],  stem.kernel[1], stem.kernel[2]};
  std::int64_t total = 1;
  for (const std::int64_t size : sizes) total *= size;
  for (; at < total; ++at) {
    std::int64_t rest = at;
    for (std::size_t i = sizes.size(); i-- > 0;) {
      index[i] = rest % sizes[i];
      rest /= sizes[i];
    }
    const auto [b, t, y, x, o, c, kt, ky, kx] = index;
    const Volume from{t * stem.stride[0] + kt - stem.padding[0], y * stem.stride[1] + ky - stem.padding[1],
                      x * stem.stride[2] + kx - stem.padding[2]};
    bool inside = true;
    for (std::size_t axis = 0; axis < 3; ++axis) inside &= from[axis] >= 0 && from[axis] < in[axis];
    if (!inside) continue;
    const auto source = static_cast<std::size_t>(
        (((b * channels + c) * in[0] + from[0]) * in[1] + from[1]) * in[2] + from[2]);
    const auto target = static_cast<std::size_t>((((b * out[0] + t) * out[1] + y) * out[2] + x) * outs + o);
    const auto w =
        static_cast<std::size_t>((((o * channels + c) * sizes[6] + kt) * sizes[7] + ky) * sizes[8] + kx);
    truth.output[target] += static_cast<double>(maps[source]) * weight[w];
    truth.dmaps[source] += static_cast<double>(gradient[target]) * weight[w];
    truth.dweight[w] += static_cast<double>(gradient[target]) * maps[source];
  }
  return truth;
}

Values keypoint_gradient(const PoseMaps& maps, const Truth& dmaps) {
  const Values gradient(dmaps.begin(), dmaps.end());
  const std::int64_t row = maps.width, plane = row * maps.height, volume = plane * maps.frames;
  Values result = fresh(static_cast<std::size_t>(maps.batch * maps.persons * maps.frames * maps.joints * 3));
  const HeatmapGradientJob job{.maps = maps,
                               .element = ElementType::kFloat32,
                               .gradient = gradient.data(),
                               .strides = {volume * maps.channels(), volume, plane, row, 1},
                               .result = result.data(),
                               .threads = 1};
  CHECK(render_heatmaps_backward(job));
  return result;
}

void test_stem(PoseMaps maps, std::int64_t outs, const Volume& kernel, const Volume& stride,
               const Volume& padding) {
  const Values keypoints = draw_keypoints(maps);
  maps.keypoints = keypoints.data();
  PoseStem stem{maps, outs, kernel, stride, padding, ElementType::kFloat32, kThreads};
  const Volume out = stem.output();
  Values drawn =
      fresh(static_cast<std::size_t>(maps.batch * maps.channels() * maps.frames * maps.height * maps.width));
  CHECK(render_heatmaps({maps, ElementType::kFloat32, HeatmapLayout::kContiguous, drawn.data(), 1}));
  const Values weight = draw(outs * maps.channels() * kernel[0] * kernel[1] * kernel[2]);
  const Halves half_gradient(draw(maps.batch * out[0] * out[1] * out[2] * outs));
  const Values gradient = half_gradient.widened();
  const Convolution truth = convolve(stem, drawn, weight, gradient);
  const Values poses = keypoint_gradient(maps, truth.dmaps);
  const Truth true_dposes(poses.begin(), poses.end());

  Values output = fresh(gradient.size()), dweight = fresh(weight.size()), dposes = fresh(poses.size());
  CHECK(pose_stem(stem, weight.data(), output.data()));
  CHECK(pose_stem_weight_gradient(stem, gradient.data(), dweight.data()));
  CHECK(pose_stem_keypoint_gradient(stem, weight.data(), gradient.data(), dposes.data()));
  CHECK(close(output, truth.output, 1e-5) && close(dweight, truth.dweight, 1e-5));
  CHECK(close(dposes, true_dposes, 1e-5));

  stem.element = ElementType::kBFloat16;
  Halves half_output(gradient.size());
  Values half_dweight = fresh(weight.size()), half_dposes = fresh(poses.size());
  CHECK(pose_stem(stem, weight.data(), half_output.bits.data()));
  CHECK(pose_stem_weight_gradient(stem, half_gradient.bits.data(), half_dweight.data()));
  CHECK(pose_stem_keypoint_gradient(stem, weight.data(), half_gradient.bits.data(), half_dposes.data()));
  CHECK(close(half_output.widened(), truth.output, 4e-3) && close(half_dweight, truth.dweight, 1e-5));
  CHECK(close(half_dposes, true_dposes, 1e-5));
}

void test_all_stems(const PoseMaps& maps, std::int64_t outs) {
  test_stem(maps, outs, {1, 7, 7}, {1, 1, 1}, {0, 3, 3});
  test_stem(maps, outs, {1, 3, 3}, {1, 2, 2}, {0, 1, 1});
  test_stem(maps, outs, {3, 3, 3}, {1, 1, 1}, {1, 1, 1});
  test_stem(maps, outs, {2, 5, 4}, {2, 3, 7}, {0, 4, 1});
}

}  // namespace

int main(int argc, char** argv) {
  use_instructions(argc, argv);
  const std::vector<Limb> limbs{{0, 1}, {1, 2}, {2, 2}, {2, 0}};
  for (const std::int64_t outs : {1, 8, 13}) {
    test_all_stems({nullptr, 2, 1, 3, 3, 12, 10, 0.6, HeatmapMode::kHeatmap, {}}, outs);
    test_all_stems({nullptr, 1, 3, 2, 2, 9, 14, 1.3, HeatmapMode::kHeatmap, {}}, outs);
    test_all_stems({nullptr, 1, 2, 2, 3, 11, 12, 0.6, HeatmapMode::kLimb, limbs}, outs);
    test_all_stems({nullptr, 1, 2, 2, 3, 7, 7, 0.8, HeatmapMode::kGrayscaleSum, {}}, outs);
  }
  // Several frames, of more than one clip, by one thread.
  test_stem({nullptr, 8, 2, 7, 3, 9, 8, 0.6, HeatmapMode::kHeatmap, {}}, 5, {3, 3, 3}, {1, 1, 1}, {1, 1, 1});
  test_stem({nullptr, 8, 2, 7, 3, 9, 8, 0.6, HeatmapMode::kLimb, limbs}, 5, {1, 3, 3}, {1, 2, 2}, {0, 1, 1});
  test_stem({nullptr, 1, 1, 2, 3, 1, 1, 0.6, HeatmapMode::kHeatmap, {}}, 4, {1, 7, 7}, {1, 1, 1}, {0, 3, 3});
}
