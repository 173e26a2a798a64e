#include "bindings/ops.hpp"

#include <pybind11/stl.h>

#include <array>
#include <cstdint>
#include <vector>

#include "attention/attention.hpp"
#include "base/guarded.hpp"
#include "heatmap/heatmap_gradient.hpp"
#include "heatmap/heatmap_renderer.hpp"
#include "int8_conv/int8_conv.hpp"
#include "norm_depthwise/batch_norm.hpp"
#include "norm_depthwise/depthwise_conv.hpp"
#include "norm_depthwise/norm_depthwise.hpp"
#include "row_conv/row_conv.hpp"
#include "stem/pose_stem.hpp"

namespace py = pybind11;

namespace {

template <class Work>
void run_or_throw(const Work& work) {
  bool done;
  {
    const py::gil_scoped_release release;
    done = work();
  }
  fastpose::require_memory(done);
}

std::vector<fastpose::Limb> pair_limbs(const std::vector<std::int64_t>& joints) {
  std::vector<fastpose::Limb> limbs;
  for (std::size_t i = 0; i + 1 < joints.size(); i += 2) limbs.push_back({joints[i], joints[i + 1]});
  return limbs;
}

fastpose::PoseMaps maps_of(std::uintptr_t keypoints, const std::array<std::int64_t, 4>& shape,
                           const std::array<std::int64_t, 2>& size, double sigma, fastpose::HeatmapMode mode,
                           const std::vector<fastpose::Limb>& limbs) {
  return {.keypoints = reinterpret_cast<const float*>(keypoints),
          .batch = shape[0],
          .persons = shape[1],
          .frames = shape[2],
          .joints = shape[3],
          .height = size[0],
          .width = size[1],
          .sigma = sigma,
          .mode = mode,
          .limbs = limbs};
}

// Addresses of dense float32 keypoints [B, M, T, V, 3] and of the output; see heatmap_renderer.hpp.
void render_heatmaps(std::uintptr_t keypoints, const std::array<std::int64_t, 4>& shape,
                     std::uintptr_t output, const std::array<std::int64_t, 2>& size, double sigma,
                     fastpose::HeatmapMode mode, const std::vector<std::int64_t>& limb_joints,
                     fastpose::ElementType element, fastpose::HeatmapLayout layout, int threads) {
  const std::vector<fastpose::Limb> limbs = pair_limbs(limb_joints);
  const fastpose::HeatmapJob job{
      .maps = maps_of(keypoints, shape, size, sigma, mode, limbs),
      .element = element,
      .layout = layout,
      .output = reinterpret_cast<void*>(output),
      .threads = threads,
  };
  run_or_throw([&] { return fastpose::render_heatmaps(job); });
}

// Addresses of the maps' gradient [B, C, T, H, W], of dense float32 keypoints and result [B, M, T, V, 3].
void render_heatmaps_backward(std::uintptr_t gradient, const std::array<std::int64_t, 5>& strides,
                              std::uintptr_t keypoints, const std::array<std::int64_t, 4>& shape,
                              std::uintptr_t result, const std::array<std::int64_t, 2>& size, double sigma,
                              fastpose::HeatmapMode mode, const std::vector<std::int64_t>& limb_joints,
                              fastpose::ElementType element, int threads) {
  const std::vector<fastpose::Limb> limbs = pair_limbs(limb_joints);
  const fastpose::HeatmapGradientJob job{
      .maps = maps_of(keypoints, shape, size, sigma, mode, limbs),
      .element = element,
      .gradient = reinterpret_cast<const void*>(gradient),
      .strides = strides,
      .result = reinterpret_cast<float*>(result),
      .threads = threads,
  };
  run_or_throw([&] { return fastpose::render_heatmaps_backward(job); });
}

void bind_rendering(py::module_& module) {
  using fastpose::ElementType;
  using fastpose::HeatmapLayout;
  using fastpose::HeatmapMode;
  py::enum_<HeatmapMode>(module, "HeatmapMode")
      .value("HEATMAP", HeatmapMode::kHeatmap)
      .value("LIMB", HeatmapMode::kLimb)
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
  module.def("render_heatmaps_backward", &render_heatmaps_backward, py::arg("gradient"), py::arg("strides"),
             py::arg("keypoints"), py::arg("shape"), py::arg("result"), py::arg("size"), py::arg("sigma"),
             py::arg("mode"), py::arg("limbs"), py::arg("element"), py::arg("threads"),
             "Write the gradient of the keypoints; fastpose.ops checks the arguments.");
}

fastpose::DepthwiseConv depthwise_job(const std::array<std::int64_t, 5>& shape,
                                      const fastpose::Volume& kernel, const fastpose::Volume& stride,
                                      fastpose::ElementType element, int threads) {
  return {.batch = shape[0],
          .channels = shape[1],
          .input = {shape[2], shape[3], shape[4]},
          .kernel = kernel,
          .stride = stride,
          .element = element,
          .threads = threads};
}

// Addresses of dense volumes [B, T, H, W, C] and float32 weights [C, kt·kh·kw]; see depthwise_conv.hpp and
// norm_depthwise.hpp.
void bind_depthwise(py::module_& module) {
  using Address = std::uintptr_t;
  using Shape = std::array<std::int64_t, 5>;
  using fastpose::ElementType;
  using fastpose::Volume;
  const auto rows = [](Address address) { return reinterpret_cast<void*>(address); };
  const auto floats = [](Address address) { return reinterpret_cast<float*>(address); };
  const auto define = [&](const char* name, auto function, auto... operands) {
    module.def(
        name, function, py::arg("shape"), py::arg("kernel"), py::arg("stride"), py::arg("element"),
        py::arg("threads"), operands...,
        "Fill the results at their addresses; shape is the input's [B, C, T, H, W]. fastpose.ops checks.");
  };
  define(
      "depthwise_conv",
      [=](const Shape& shape, const Volume& kernel, const Volume& stride, ElementType element, int threads,
          Address input, Address weight, Address output) {
        const auto job = depthwise_job(shape, kernel, stride, element, threads);
        run_or_throw([&] {
          return fastpose::depthwise_conv(job, nullptr, rows(input), floats(weight), rows(output));
        });
      },
      py::arg("input"), py::arg("weight"), py::arg("output"));
  define(
      "depthwise_conv_gradients",
      [=](const Shape& shape, const Volume& kernel, const Volume& stride, ElementType element, int threads,
          Address input, Address gradient, Address weight, Address input_gradient, Address weight_gradient) {
        const auto job = depthwise_job(shape, kernel, stride, element, threads);
        run_or_throw([&] {
          return fastpose::depthwise_conv_gradients(job, nullptr, rows(input), rows(gradient), floats(weight),
                                                    {rows(input_gradient), floats(weight_gradient), nullptr});
        });
      },
      py::arg("input"), py::arg("gradient"), py::arg("weight"), py::arg("input_gradient"),
      py::arg("weight_gradient"));
  define(
      "norm_depthwise",
      [=](const Shape& shape, const Volume& kernel, const Volume& stride, ElementType element, int threads,
          bool relu, float eps, Address input, Address norm_weight, Address norm_bias, Address weight,
          Address output, Address mean, Address variance, bool given) {
        const fastpose::NormDepthwise job{depthwise_job(shape, kernel, stride, element, threads), relu, eps};
        run_or_throw([&] {
          return fastpose::norm_depthwise(
              job, {rows(input), floats(norm_weight), floats(norm_bias), floats(weight), rows(output),
                    floats(mean), floats(variance), given});
        });
      },
      py::arg("relu"), py::arg("eps"), py::arg("input"), py::arg("norm_weight"), py::arg("norm_bias"),
      py::arg("weight"), py::arg("output"), py::arg("mean"), py::arg("variance"), py::arg("given"));
  define(
      "norm_depthwise_backward",
      [=](const Shape& shape, const Volume& kernel, const Volume& stride, ElementType element, int threads,
          bool relu, float eps, Address output_gradient, Address input, Address norm_weight,
          Address norm_bias, Address weight, Address mean, Address variance, Address input_gradient,
          Address norm_weight_gradient, Address norm_bias_gradient, Address weight_gradient) {
        const fastpose::NormDepthwise job{depthwise_job(shape, kernel, stride, element, threads), relu, eps};
        run_or_throw([&] {
          return fastpose::norm_depthwise_backward(
              job, {rows(output_gradient), rows(input), floats(norm_weight), floats(norm_bias),
                    floats(weight), floats(mean), floats(variance), rows(input_gradient),
                    floats(norm_weight_gradient), floats(norm_bias_gradient), floats(weight_gradient)});
        });
      },
      py::arg("relu"), py::arg("eps"), py::arg("output_gradient"), py::arg("input"), py::arg("norm_weight"),
      py::arg("norm_bias"), py::arg("weight"), py::arg("mean"), py::arg("variance"),
      py::arg("input_gradient"), py::arg("norm_weight_gradient"), py::arg("norm_bias_gradient"),
      py::arg("weight_gradient"));
}

// Addresses of dense float32 keypoints [B, M, T, V, 3] and weights [O, C, kT, kH, kW], and of volumes
// [B, T', H', W', O]; see pose_stem.hpp.
void bind_pose_stem(py::module_& module) {
  using Address = std::uintptr_t;
  using fastpose::ElementType;
  using fastpose::HeatmapMode;
  using fastpose::Volume;
  const auto define = [&](const char* name, auto work, auto... operands) {
    module.def(
        name,
        [work](Address keypoints, const std::array<std::int64_t, 4>& shape,
               const std::array<std::int64_t, 2>& size, double sigma, HeatmapMode mode,
               const std::vector<std::int64_t>& limb_joints, const std::array<std::int64_t, 5>& weight_shape,
               const Volume& stride, const Volume& padding, ElementType element, int threads,
               decltype(static_cast<void>(operands), Address{})... addresses) {
          const std::vector<fastpose::Limb> limbs = pair_limbs(limb_joints);
          const fastpose::PoseStem stem{.maps = maps_of(keypoints, shape, size, sigma, mode, limbs),
                                        .out_channels = weight_shape[0],
                                        .kernel = {weight_shape[2], weight_shape[3], weight_shape[4]},
                                        .stride = stride,
                                        .padding = padding,
                                        .element = element,
                                        .threads = threads};
          run_or_throw([&] { return work(stem, addresses...); });
        },
        py::arg("keypoints"), py::arg("shape"), py::arg("size"), py::arg("sigma"), py::arg("mode"),
        py::arg("limbs"), py::arg("weight_shape"), py::arg("stride"), py::arg("padding"), py::arg("element"),
        py::arg("threads"), operands..., "Fill the last operand; fastpose.ops checks the arguments.");
  };
  define(
      "pose_stem",
      [](const fastpose::PoseStem& stem, Address weight, Address output) {
        return fastpose::pose_stem(stem, reinterpret_cast<const float*>(weight),
                                   reinterpret_cast<void*>(output));
      },
      py::arg("weight"), py::arg("output"));
  define(
      "pose_stem_weight_gradient",
      [](const fastpose::PoseStem& stem, Address gradient, Address result) {
        return fastpose::pose_stem_weight_gradient(stem, reinterpret_cast<const void*>(gradient),
                                                   reinterpret_cast<float*>(result));
      },
      py::arg("gradient"), py::arg("result"));
  define(
      "pose_stem_keypoint_gradient",
      [](const fastpose::PoseStem& stem, Address weight, Address gradient, Address result) {
        return fastpose::pose_stem_keypoint_gradient(stem, reinterpret_cast<const float*>(weight),
                                                     reinterpret_cast<const void*>(gradient),
                                                     reinterpret_cast<float*>(result));
      },
      py::arg("weight"), py::arg("gradient"), py::arg("result"));
}

// Addresses of dense tokens: qkv [outer, length, inner, 3, heads, dim]; see attention.hpp.
void bind_attention(py::module_& module) {
  using Shape = std::array<std::int64_t, 5>;  // outer, length, inner, heads, dim
  const auto describe = [](const Shape& shape, fastpose::ElementType element, int threads) {
    return fastpose::Attention{shape[0], shape[1], shape[2], shape[3], shape[4], element, threads};
  };
  module.def(
      "attend",
      [describe](const Shape& shape, fastpose::ElementType element, std::uintptr_t qkv, std::uintptr_t output,
                 int threads) {
        run_or_throw([&] {
          return fastpose::attend(describe(shape, element, threads), reinterpret_cast<const void*>(qkv),
                                  reinterpret_cast<void*>(output));
        });
      },
      py::arg("shape"), py::arg("element"), py::arg("qkv"), py::arg("output"), py::arg("threads"),
      "Softmax attention on addresses; fastpose.ops checks the arguments.");
  module.def(
      "attend_backward",
      [describe](const Shape& shape, fastpose::ElementType element, std::uintptr_t qkv,
                 std::uintptr_t gradient, std::uintptr_t result, int threads) {
        run_or_throw([&] {
          return fastpose::attend_backward(
              describe(shape, element, threads), reinterpret_cast<const void*>(qkv),
              reinterpret_cast<const void*>(gradient), reinterpret_cast<void*>(result));
        });
      },
      py::arg("shape"), py::arg("element"), py::arg("qkv"), py::arg("gradient"), py::arg("result"),
      py::arg("threads"),
      "Write the gradient of queries, keys and values; fastpose.ops checks the arguments.");
}

// Addresses of dense rows [N, C] and of float32 arrays [C]; see batch_norm.hpp.
void bind_batch_norm(py::module_& module) {
  using Address = std::uintptr_t;
  using fastpose::ElementType;
  const auto rows = [](Address address) { return reinterpret_cast<void*>(address); };
  const auto floats = [](Address address) { return reinterpret_cast<float*>(address); };
  module.def(
      "batch_norm",
      [=](std::int64_t count, std::int64_t channels, bool relu, float eps, ElementType element, int threads,
          Address input, Address residual, Address weight, Address bias, Address output, Address mean,
          Address variance, bool given) {
        const fastpose::BatchNorm norm{count, channels, relu, eps, element, threads};
        run_or_throw([&] {
          return fastpose::batch_norm(norm, {rows(input), rows(residual), floats(weight), floats(bias),
                                             rows(output), floats(mean), floats(variance), given});
        });
      },
      py::arg("rows"), py::arg("channels"), py::arg("relu"), py::arg("eps"), py::arg("element"),
      py::arg("threads"), py::arg("input"), py::arg("residual"), py::arg("weight"), py::arg("bias"),
      py::arg("output"), py::arg("mean"), py::arg("variance"), py::arg("given"),
      "Fill output, and mean and variance unless given, at their addresses; fastpose.ops checks the "
      "arguments.");
  module.def(
      "batch_norm_backward",
      [=](std::int64_t count, std::int64_t channels, bool relu, float eps, ElementType element, int threads,
          Address output_gradient, Address input, Address output, Address weight, Address bias, Address mean,
          Address variance, Address input_gradient, Address residual_gradient, Address weight_gradient,
          Address bias_gradient) {
        const fastpose::BatchNorm norm{count, channels, relu, eps, element, threads};
        run_or_throw([&] {
          return fastpose::batch_norm_backward(
              norm, {rows(output_gradient), rows(input), rows(output), floats(weight), floats(bias),
                     floats(mean), floats(variance), rows(input_gradient), rows(residual_gradient),
                     floats(weight_gradient), floats(bias_gradient)});
        });
      },
      py::arg("rows"), py::arg("channels"), py::arg("relu"), py::arg("eps"), py::arg("element"),
      py::arg("threads"), py::arg("output_gradient"), py::arg("input"), py::arg("output"), py::arg("weight"),
      py::arg("bias"), py::arg("mean"), py::arg("variance"), py::arg("input_gradient"),
      py::arg("residual_gradient"), py::arg("weight_gradient"), py::arg("bias_gradient"),
      "Fill the gradients at their addresses; fastpose.ops checks the arguments.");
}

// Addresses of dense volumes [B, T, H, W, C] and of float32 arrays; see row_conv.hpp.
void bind_row_conv(py::module_& module) {
  using Address = std::uintptr_t;
  using Shape = std::array<std::int64_t, 5>;
  using Norm = std::array<Address, 4>;
  using fastpose::Volume;
  const auto floats = [](Address address) { return reinterpret_cast<float*>(address); };
  const auto describe = [](const Shape& shape, std::int64_t out_channels, const Volume& kernel,
                           const Volume& stride, int threads) {
    return fastpose::RowConv{shape[0], shape[1], out_channels, {shape[2], shape[3], shape[4]},
                             kernel,   stride,   threads};
  };
  const auto norm_of = [=](const Norm& norm, float eps, bool relu) {
    return fastpose::RowNorm{floats(norm[0]), floats(norm[1]), floats(norm[2]), floats(norm[3]), eps, relu};
  };
  module.def(
      "row_conv",
      [=](const Shape& shape, std::int64_t out_channels, const Volume& kernel, const Volume& stride,
          int threads, Address input, const Norm& norm, float eps, bool relu, Address weight, Address output,
          Address mean, Address variance, Address scale, Address shift, Address residual, bool finish_relu) {
        run_or_throw([&] {
          return fastpose::row_conv(describe(shape, out_channels, kernel, stride, threads),
                                    {floats(input),
                                     norm_of(norm, eps, relu),
                                     floats(weight),
                                     floats(output),
                                     floats(mean),
                                     floats(variance),
                                     {floats(scale), floats(shift), floats(residual), finish_relu}});
        });
      },
      py::arg("shape"), py::arg("out_channels"), py::arg("kernel"), py::arg("stride"), py::arg("threads"),
      py::arg("input"), py::arg("norm"), py::arg("eps"), py::arg("relu"), py::arg("weight"),
      py::arg("output"), py::arg("mean"), py::arg("variance"), py::arg("scale"), py::arg("shift"),
      py::arg("residual"), py::arg("finish_relu"),
      "Fill the output, and its statistics where they are wanted; shape is the input's [B, C, T, H, W]. "
      "fastpose.ops "
      "checks the arguments.");
  module.def(
      "row_conv_backward",
      [=](const Shape& shape, std::int64_t out_channels, const Volume& kernel, const Volume& stride,
          int threads, Address input, const Norm& norm, float eps, bool relu, Address weight, Address output,
          Address output_mean, Address output_gradient, Address mean_gradient, Address variance_gradient,
          Address input_gradient, Address weight_gradient, Address norm_gradients) {
        run_or_throw([&] {
          return fastpose::row_conv_backward(
              describe(shape, out_channels, kernel, stride, threads),
              {floats(input), norm_of(norm, eps, relu), floats(weight), floats(output), floats(output_mean),
               floats(output_gradient), floats(mean_gradient), floats(variance_gradient),
               floats(input_gradient), floats(weight_gradient), floats(norm_gradients)});
        });
      },
      py::arg("shape"), py::arg("out_channels"), py::arg("kernel"), py::arg("stride"), py::arg("threads"),
      py::arg("input"), py::arg("norm"), py::arg("eps"), py::arg("relu"), py::arg("weight"),
      py::arg("output"), py::arg("output_mean"), py::arg("output_gradient"), py::arg("mean_gradient"),
      py::arg("variance_gradient"), py::arg("input_gradient"), py::arg("weight_gradient"),
      py::arg("norm_gradients"), "Fill the gradients; fastpose.ops checks the arguments.");
}

// Addresses of dense volumes [B, T, H, W, C], of packed int8 weights and of float32 arrays; see
// int8_conv.hpp.
void bind_int8_conv(py::module_& module) {
  using Address = std::uintptr_t;
  const auto floats = [](Address address) { return reinterpret_cast<float*>(address); };
  module.def(
      "int8_conv",
      [=](const std::array<std::int64_t, 5>& shape, std::int64_t out_channels, const fastpose::Volume& kernel,
          const fastpose::Volume& stride, int threads, Address input, Address weights, Address weight_sums,
          Address output, Address scale, Address shift, Address residual, bool relu) {
        run_or_throw([&] {
          return fastpose::int8_conv(
              {shape[0], shape[1], out_channels, {shape[2], shape[3], shape[4]}, kernel, stride, threads},
              {floats(input),
               reinterpret_cast<const std::int8_t*>(weights),
               floats(weight_sums),
               {floats(scale), floats(shift), floats(residual), relu},
               floats(output)});
        });
      },
      py::arg("shape"), py::arg("out_channels"), py::arg("kernel"), py::arg("stride"), py::arg("threads"),
      py::arg("input"), py::arg("weights"), py::arg("weight_sums"), py::arg("output"), py::arg("scale"),
      py::arg("shift"), py::arg("residual"), py::arg("relu"),
      "Fill the output; shape is the input's [B, C, T, H, W]. fastpose.ops checks the arguments.");
}

}  // namespace

void bind_operators(py::module_& module) {
  bind_rendering(module);
  bind_depthwise(module);
  bind_pose_stem(module);
  bind_attention(module);
  bind_batch_norm(module);
  bind_row_conv(module);
  bind_int8_conv(module);
}
