// The only file that knows pybind11: checks nothing that Python has not checked, releases the GIL around
// work.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <cstdint>
#include <new>
#include <vector>

#include "heatmap_renderer.hpp"
#include "thread_pool.hpp"

namespace py = pybind11;

namespace {

void bind_decoding(py::module_&) {}

void bind_sampling(py::module_&) {}

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
