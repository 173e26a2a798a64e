// Python's view of decoding, packing and sampling. Checks nothing that Python has not checked, releases the
// GIL around work.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/thread_pool.hpp"
#include "bindings/ops.hpp"
#include "decode/body_selector.hpp"
#include "decode/clip_packer.hpp"
#include "decode/pickle_scan.hpp"
#include "decode/skeleton_parser.hpp"
#include "denoise/track_smoother.hpp"
#include "sample/clip_sampler.hpp"
#include "sample/total_difference.hpp"

namespace py = pybind11;

namespace {

// An array that owns the vector's memory.
template <typename T>
py::array_t<T> owned_array(std::vector<T>&& values, std::vector<py::ssize_t> shape) {
  auto held = std::make_unique<std::vector<T>>(std::move(values));
  T* data = held->data();
  const py::capsule owner(held.get(), [](void* vector) { delete static_cast<std::vector<T>*>(vector); });
  held.release();
  return py::array_t<T>(std::move(shape), data, owner);
}

template <typename T>
py::array_t<T> owned_array(std::vector<T>&& values) {
  const auto size = static_cast<py::ssize_t>(values.size());
  return owned_array(std::move(values), {size});
}

py::tuple parse_skeleton(const py::buffer& text) {
  const py::buffer_info info = text.request();
  fastpose::Skeleton skeleton;
  fastpose::ParseError error;
  {
    const py::gil_scoped_release release;
    error = fastpose::parse_skeleton(static_cast<const char*>(info.ptr),
                                     static_cast<std::size_t>(info.size * info.itemsize), skeleton);
  }
  if (error.code != fastpose::ParseErrorCode::kNone) {
    return py::make_tuple(py::make_tuple(error.line, error.column, error.message()), py::none());
  }
  py::list bodies;
  for (fastpose::SkeletonBody& body : skeleton.bodies) {
    const auto n = static_cast<py::ssize_t>(body.frames.size());
    bodies.append(
        py::make_tuple(body.id, owned_array(std::move(body.frames)),
                       owned_array(std::move(body.joints), {n, fastpose::kJoints, fastpose::kJointFields})));
  }
  return py::make_tuple(py::none(), py::make_tuple(skeleton.num_frames, skeleton.lost_joints, bodies));
}

std::string scan_pickle(const py::buffer& pickle) {
  const py::buffer_info info = pickle.request();
  const py::gil_scoped_release release;
  return fastpose::scan_pickle(static_cast<const char*>(info.ptr),
                               static_cast<std::size_t>(info.size * info.itemsize))
      .message();
}

using FrameArray = py::array_t<std::int32_t, py::array::c_style>;
using JointArray = py::array_t<float, py::array::c_style>;

py::tuple select_bodies(const std::vector<std::pair<FrameArray, JointArray>>& bodies, std::int32_t num_frames,
                        int max_bodies) {
  std::vector<fastpose::BodyTrack> tracks;
  for (const auto& [frames, joints] : bodies) {
    tracks.push_back({frames.data(), joints.data(), static_cast<std::int64_t>(frames.size())});
  }
  fastpose::BodySelection selection;
  std::vector<float> joints;  // [M, T, 25, 12]
  {
    const py::gil_scoped_release release;
    selection = fastpose::select_bodies(tracks, num_frames, max_bodies);
    joints.resize(selection.bodies.size() * fastpose::kBodyFloats);
    float* target = joints.data();
    for (const float* body : selection.bodies) {
      if (body != nullptr) std::copy_n(body, fastpose::kBodyFloats, target);
      target += fastpose::kBodyFloats;
    }
  }
  const auto num_selected = static_cast<py::ssize_t>(selection.frames.size());
  return py::make_tuple(owned_array(std::move(joints), {selection.num_persons, num_selected,
                                                        fastpose::kJoints, fastpose::kJointFields}),
                        owned_array(std::move(selection.frames)));
}

py::dict pack_skeletons(const py::iterable& paths, int max_bodies, int threads) {
  std::vector<std::string> names;
  const py::object fsencode = py::module_::import("os").attr("fsencode");
  for (const py::handle path : paths) names.push_back(fsencode(path).cast<std::string>());
  fastpose::PackedSkeletons packed;
  {
    const py::gil_scoped_release release;
    packed = fastpose::pack_skeletons(names, max_bodies, threads);
  }
  const auto rows = static_cast<py::ssize_t>(packed.scores.size() / fastpose::kJoints);
  py::dict result;
  result["keypoints"] = owned_array(std::move(packed.keypoints), {rows, fastpose::kJoints, 2});
  result["scores"] = owned_array(std::move(packed.scores), {rows, fastpose::kJoints});
  result["num_persons"] = owned_array(std::move(packed.num_persons));
  result["num_frames"] = owned_array(std::move(packed.num_frames));
  py::list errors;
  for (const std::string& text : packed.errors) {  // they hold file names, which need not be UTF-8
    errors.append(py::reinterpret_steal<py::str>(
        PyUnicode_DecodeFSDefaultAndSize(text.data(), static_cast<py::ssize_t>(text.size()))));
  }
  result["errors"] = errors;
  result["lost_joints"] = owned_array(std::move(packed.lost_joints));
  result["bytes"] = packed.bytes;
  return result;
}

void bind_decoding(py::module_& module) {
  module.def(
      "parse_skeleton", &parse_skeleton, py::arg("text"),
      "((line, column, message) or None, (num_frames, lost_joints, [(id, frames, joints), ...]) or None)");
  module.def("scan_pickle", &scan_pickle, py::arg("pickle"),
             "What is wrong with a pickle's opcodes; empty where nothing is.");
  module.def("select_bodies", &select_bodies, py::arg("bodies"), py::arg("num_frames"), py::arg("max_bodies"),
             "[(frames, joints), ...] -> (joints [M, T, 25, 12], frames [T])");
  module.def("pack_skeletons", &pack_skeletons, py::arg("paths"), py::arg("max_bodies"), py::arg("threads"),
             "Files to flat 2D keypoints, scores, counts and error texts.");
}

template <typename T>
using Array = py::array_t<T, py::array::c_style>;

using PriorArrays = std::map<std::string, Array<float>>;  // SamplePrior.arrays()

// What the sampler copies of a prior.
class PriorView {
 public:
  explicit PriorView(const PriorArrays& arrays)
      : view_{arrays.at("cosines").shape(1),        arrays.at("learned").size(),
              arrays.at("variances").size(),        arrays.at("mean").data(),
              arrays.at("directions").data(),       arrays.at("variances").data(),
              arrays.at("left_out").data(),         arrays.at("joint_variances").data(),
              arrays.at("joint_directions").data(), arrays.at("learned").data(),
              arrays.at("cosines").data()} {}

  const fastpose::MotionPriorView& operator*() const { return view_; }

 private:
  fastpose::MotionPriorView view_;
};

// Keeps the pack's arrays alive as long as it points into them.
class PackedSampler {
 public:
  PackedSampler(Array<float> keypoints, Array<float> scores, Array<std::int64_t> offsets,
                Array<std::int32_t> num_persons, Array<std::int32_t> num_frames,
                Array<std::int32_t> image_sizes, Array<std::uint64_t> name_hashes,
                Array<double> total_differences, Array<std::int64_t> flipped_joint,
                Array<std::uint8_t> limb_joints, std::uint64_t seed, bool train,
                const fastpose::SettingNumbers& settings, const std::optional<PriorArrays>& prior)
      : sampler_({num_frames.size(), keypoints.shape(1), keypoints.data(), scores.data(), offsets.data(),
                  num_persons.data(), num_frames.data(), image_sizes.data(), name_hashes.data(),
                  total_differences.data(), flipped_joint.data(), limb_joints.data()},
                 settings, seed, train, prior ? &*PriorView(*prior) : nullptr),
        arrays_(py::make_tuple(keypoints, scores, offsets, num_persons, num_frames, image_sizes, name_hashes,
                               total_differences, flipped_joint, limb_joints)) {}

  void sample(const Array<std::int64_t>& indices, const Array<double>& alpha_low,
              const Array<double>& alpha_high, const Array<std::int32_t>& families, std::uint32_t epoch,
              std::uint32_t stream, bool draw_frames, std::optional<bool> flip, int threads,
              Array<float>& keypoints, Array<std::int32_t>& frames, std::optional<Array<float>>& draws,
              std::optional<Array<float>>& presence, std::optional<Array<float>>& noise_levels) const {
    fastpose::Flip choice = fastpose::Flip::kDrawn;
    if (flip) choice = *flip ? fastpose::Flip::kAlways : fastpose::Flip::kNever;
    std::vector<fastpose::NoiseFamily> chosen;
    for (py::ssize_t i = 0; i < families.size(); ++i)
      chosen.push_back(static_cast<fastpose::NoiseFamily>(families.data()[i]));
    const fastpose::BatchRequest request{indices.size(),    indices.data(), alpha_low.data(),
                                         alpha_high.data(), epoch,          stream,
                                         draw_frames,       choice,         chosen};
    float* const keypoints_out = keypoints.mutable_data();
    std::int32_t* const frames_out = frames.mutable_data();
    float* const draws_out = draws ? draws->mutable_data() : nullptr;
    float* const presence_out = presence ? presence->mutable_data() : nullptr;
    float* const levels_out = noise_levels ? noise_levels->mutable_data() : nullptr;
    const py::gil_scoped_release release;
    sampler_.sample(request, threads, keypoints_out, frames_out, draws_out, presence_out, levels_out);
  }

 private:
  fastpose::ClipSampler sampler_;
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

Array<float> smooth_tracks(const Array<float>& keypoints, const Array<bool>& present,
                           const Array<std::int64_t>& begins, bool remainder, int threads) {
  Array<float> result({keypoints.shape(0), keypoints.shape(1), keypoints.shape(2)});
  float* const out = result.mutable_data();
  const std::int64_t joints = keypoints.shape(1), axes = keypoints.shape(2);
  const py::gil_scoped_release release;
  fastpose::smooth_tracks(keypoints.data(), present.data(), begins.data(), begins.size() - 1, joints, axes,
                          remainder, threads, out);
  return result;
}

void bind_denoising(py::module_& module) {
  module.def("smooth_tracks", &smooth_tracks, py::arg("keypoints").noconvert(),
             py::arg("present").noconvert(), py::arg("begins").noconvert(), py::arg("remainder") = false,
             py::arg("threads") = 1,
             "Each joint of keypoints [rows, V, D] smoothed over time, track by track.");
}

void bind_sampling(py::module_& module) {
  using namespace py::literals;
  module.def("total_differences", &total_differences, py::arg("keypoints").noconvert(),
             py::arg("scores").noconvert(), py::arg("offsets").noconvert(), py::arg("num_frames").noconvert(),
             "threads"_a = 1, "Movement of the first person of each packed clip, in pixels: float64 [n].");
  py::class_<PackedSampler>(module, "PackedSampler")
      .def(py::init<Array<float>, Array<float>, Array<std::int64_t>, Array<std::int32_t>, Array<std::int32_t>,
                    Array<std::int32_t>, Array<std::uint64_t>, Array<double>, Array<std::int64_t>,
                    Array<std::uint8_t>, std::uint64_t, bool, const fastpose::SettingNumbers&,
                    const std::optional<PriorArrays>&>(),
           py::arg("keypoints").noconvert(), py::arg("scores").noconvert(), py::arg("offsets").noconvert(),
           py::arg("num_persons").noconvert(), py::arg("num_frames").noconvert(),
           py::arg("image_sizes").noconvert(), py::arg("name_hashes").noconvert(),
           py::arg("total_differences").noconvert(), py::arg("flipped_joint").noconvert(),
           py::arg("limb_joints").noconvert(), py::kw_only(), "seed"_a, "train"_a, "settings"_a,
           "prior"_a = std::nullopt)
      .def("sample", &PackedSampler::sample, py::arg("indices").noconvert(), py::arg("alpha_low").noconvert(),
           py::arg("alpha_high").noconvert(), py::arg("families").noconvert(), py::kw_only(), "epoch"_a,
           "stream"_a, "draw_frames"_a, "flip"_a, "threads"_a, py::arg("keypoints").noconvert(),
           py::arg("frames").noconvert(), py::arg("draws").noconvert(), "presence"_a = std::nullopt,
           "noise_levels"_a = std::nullopt);
}

}  // namespace

PYBIND11_MODULE(_C, module) {
  module.doc() = "Native core of fastpose: decoding, packing, sampling and rendering.";
  module.def("hardware_threads", &fastpose::hardware_threads, "Threads this process may run at once.");
  bind_decoding(module);
  bind_sampling(module);
  bind_denoising(module);
  bind_operators(module);
}
