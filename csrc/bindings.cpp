// The only file that knows pybind11: checks nothing that Python has not checked, releases the GIL around
// work.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <cstdint>
#include <new>
#include <optional>
#include <utility>
#include <vector>

#include "clip_sampler.hpp"
#include "heatmap_renderer.hpp"
#include "thread_pool.hpp"
#include "total_difference.hpp"

namespace py = pybind11;

namespace {

void bind_decoding(py::module_&) {}

template <typename T>
using Array = py::array_t<T, py::array::c_style>;

// Keeps the pack's arrays alive as long as it points into them.
class PackedSampler {
 public:
  PackedSampler(Array<float> keypoints, Array<float> scores, Array<std::int64_t> offsets,
                Array<std::int32_t> num_persons, Array<std::int32_t> num_frames,
                Array<std::int32_t> image_sizes, Array<std::uint64_t> name_hashes,
                Array<double> total_differences, Array<std::int64_t> flipped_joint, std::uint64_t seed,
                std::int32_t clip_len, std::pair<std::int32_t, std::int32_t> size, std::int32_t max_persons,
                bool train, double crop_padding, double min_box, std::pair<double, double> crop_area,
                std::pair<double, double> crop_aspect, double flip_probability)
      : pack_{num_frames.size(),  keypoints.shape(1),       keypoints.data(),    scores.data(),
              offsets.data(),     num_persons.data(),       num_frames.data(),   image_sizes.data(),
              name_hashes.data(), total_differences.data(), flipped_joint.data()},
        settings_{seed,
                  clip_len,
                  size.first,
                  size.second,
                  max_persons,
                  train,
                  crop_padding,
                  min_box,
                  {crop_area.first, crop_area.second},
                  {crop_aspect.first, crop_aspect.second},
                  flip_probability},
        arrays_(py::make_tuple(keypoints, scores, offsets, num_persons, num_frames, image_sizes, name_hashes,
                               total_differences, flipped_joint)) {}

  void sample(const Array<std::int64_t>& indices, const Array<double>& alpha_low,
              const Array<double>& alpha_high, std::uint32_t epoch, std::uint32_t stream, bool draw_frames,
              std::optional<bool> flip, int threads, Array<float>& keypoints,
              Array<std::int32_t>& frames) const {
    fastpose::Flip choice = fastpose::Flip::kDrawn;
    if (flip) choice = *flip ? fastpose::Flip::kAlways : fastpose::Flip::kNever;
    const fastpose::BatchRequest request{indices.size(), indices.data(), alpha_low.data(), alpha_high.data(),
                                         epoch,          stream,         draw_frames,      choice};
    float* const keypoints_out = keypoints.mutable_data();
    std::int32_t* const frames_out = frames.mutable_data();
    const py::gil_scoped_release release;
    fastpose::sample_batch(pack_, settings_, request, threads, keypoints_out, frames_out);
  }

 private:
  fastpose::PackView pack_;
  fastpose::SamplerSettings settings_;
  py::tuple arrays_;
};

Array<double> total_differences(const Array<float>& keypoints, const Array<float>& scores,
                                const Array<std::int64_t>& offsets, const Array<std::int32_t>& num_frames,
                                int threads) {
  Array<double> result(num_frames.size());
  double* const out = result.mutable_data();
  const std::int64_t joints = keypoints.shape(1);
  const py::gil_scoped_release release;
  fastpose::total_differences(keypoints.data(), scores.data(), offsets.data(), num_frames.data(),
                              num_frames.size(), joints, threads, out);
  return result;
}

void bind_sampling(py::module_& module) {
  using namespace py::literals;
  module.def("total_differences", &total_differences, py::arg("keypoints").noconvert(),
             py::arg("scores").noconvert(), py::arg("offsets").noconvert(), py::arg("num_frames").noconvert(),
             "threads"_a = 1, "Movement of the first person of each packed clip, in pixels: float64 [n].");
  py::class_<PackedSampler>(module, "PackedSampler")
      .def(py::init<Array<float>, Array<float>, Array<std::int64_t>, Array<std::int32_t>, Array<std::int32_t>,
                    Array<std::int32_t>, Array<std::uint64_t>, Array<double>, Array<std::int64_t>,
                    std::uint64_t, std::int32_t, std::pair<std::int32_t, std::int32_t>, std::int32_t, bool,
                    double, double, std::pair<double, double>, std::pair<double, double>, double>(),
           py::arg("keypoints").noconvert(), py::arg("scores").noconvert(), py::arg("offsets").noconvert(),
           py::arg("num_persons").noconvert(), py::arg("num_frames").noconvert(),
           py::arg("image_sizes").noconvert(), py::arg("name_hashes").noconvert(),
           py::arg("total_differences").noconvert(), py::arg("flipped_joint").noconvert(), py::kw_only(),
           "seed"_a, "clip_len"_a, "size"_a, "max_persons"_a, "train"_a, "crop_padding"_a, "min_box"_a,
           "crop_area"_a, "crop_aspect"_a, "flip_probability"_a)
      .def("sample", &PackedSampler::sample, py::arg("indices").noconvert(), py::arg("alpha_low").noconvert(),
           py::arg("alpha_high").noconvert(), py::kw_only(), "epoch"_a, "stream"_a, "draw_frames"_a, "flip"_a,
           "threads"_a, py::arg("keypoints").noconvert(), py::arg("frames").noconvert());
}

// Addresses of dense float32 keypoints [B, M, T, V, 3] and of the output; see heatmap_renderer.hpp.
void render_heatmaps(std::uintptr_t keypoints, const std::array<std::int64_t, 4>& shape,
                     std::uintptr_t output, const std::array<std::int64_t, 2>& size, double sigma,
                     fastpose::HeatmapMode mode, const std::vector<std::int64_t>& limb_joints,
                     fastpose::ElementType element, fastpose::HeatmapLayout layout, int threads) {
  std::vector<fastpose::Limb> limbs;
  for (std::size_t i = 0; i + 1 < limb_joints.size(); i += 2) {
    limbs.push_back({limb_joints[i], limb_joints[i + 1]});
  }
  const fastpose::HeatmapJob job{
      .keypoints = reinterpret_cast<const float*>(keypoints),
      .batch = shape[0],
      .persons = shape[1],
      .frames = shape[2],
      .joints = shape[3],
      .height = size[0],
      .width = size[1],
      .sigma = sigma,
      .mode = mode,
      .limbs = limbs,
      .element = element,
      .layout = layout,
      .output = reinterpret_cast<void*>(output),
      .threads = threads,
  };
  fastpose::RenderStatus status;
  {
    const py::gil_scoped_release release;
    status = fastpose::render_heatmaps(job);
  }
  if (status == fastpose::RenderStatus::kOutOfMemory) throw std::bad_alloc();
}

void bind_rendering(py::module_& module) {
  using fastpose::ElementType;
  using fastpose::HeatmapLayout;
  using fastpose::HeatmapMode;
  py::enum_<HeatmapMode>(module, "HeatmapMode")
      .value("JOINTS", HeatmapMode::kJoints)
      .value("LIMBS", HeatmapMode::kLimbs)
      .value("GRAYSCALE_SUM", HeatmapMode::kGrayscaleSum)
      .value("GRAYSCALE_MAX", HeatmapMode::kGrayscaleMax);
  py::enum_<ElementType>(module, "ElementType")
      .value("FLOAT32", ElementType::kFloat32)
      .value("FLOAT16", ElementType::kFloat16)
      .value("BFLOAT16", ElementType::kBFloat16);
  py::enum_<HeatmapLayout>(module, "HeatmapLayout")
      .value("CONTIGUOUS", HeatmapLayout::kContiguous)
      .value("CHANNELS_LAST", HeatmapLayout::kChannelsLast);
  module.def("render_heatmaps", &render_heatmaps, py::arg("keypoints"), py::arg("shape"), py::arg("output"),
             py::arg("size"), py::arg("sigma"), py::arg("mode"), py::arg("limbs"), py::arg("element"),
             py::arg("layout"), py::arg("threads"),
             "Render keypoints at an address into memory at another; fastpose.ops checks the arguments.");
}

}  // namespace

PYBIND11_MODULE(_C, module) {
  module.doc() = "Native core of fastpose: decoding, packing, sampling and rendering.";
  module.def("hardware_threads", &fastpose::hardware_threads, "Threads this process may run at once.");
  bind_decoding(module);
  bind_sampling(module);
  bind_rendering(module);
}
