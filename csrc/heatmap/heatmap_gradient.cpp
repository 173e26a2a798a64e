#include "heatmap/heatmap_gradient.hpp"

#include <cassert>

#include "base/guarded.hpp"
#include "base/number_formats.hpp"
#include "base/thread_pool.hpp"
#include "heatmap/frame_gradient.hpp"

namespace fastpose {
namespace {

template <class Element>
void differentiate(const HeatmapGradientJob& job) {
  constexpr std::int64_t kFramesPerRange = 16;
  const PoseMaps& maps = job.maps;
  const auto* values = static_cast<const Element*>(job.gradient);
  const std::array<std::int64_t, 5>& strides = job.strides;
  guarded_loop(parallel_for, maps.batch * maps.frames, job.threads, kFramesPerRange,
               [&](std::int64_t begin, std::int64_t end) {
                 FrameGradient gradient(maps);
                 for (std::int64_t unit = begin; unit < end; ++unit) {
                   const std::int64_t clip = unit / maps.frames, frame = unit % maps.frames;
                   gradient.place(clip, frame);
                   gradient.write<Element>(
                       {values + clip * strides[0] + frame * strides[2], strides[1], strides[3], strides[4]},
                       job.result);
                 }
               });
}

}  // namespace

bool render_heatmaps_backward(const HeatmapGradientJob& job) noexcept {
  assert(job.maps.height > 0 && job.maps.width > 0 && job.maps.sigma > 0);
  return guarded([&] {
    switch (job.element) {
      case ElementType::kFloat32:
        return differentiate<float>(job);
      case ElementType::kFloat16:
        return differentiate<Float16>(job);
      case ElementType::kBFloat16:
        return differentiate<BFloat16>(job);
    }
  });
}

}  // namespace fastpose
