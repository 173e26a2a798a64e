#include "norm_depthwise/norm_depthwise.hpp"

#include <vector>

#include "base/guarded.hpp"
#include "norm_depthwise/batch_norm.hpp"
#include "norm_depthwise/norm_scale.hpp"

namespace fastpose {
namespace {

BatchNorm norm_of(const NormDepthwise& job) {
  const auto& [frames, rows, columns] = job.conv.input;
  return {job.conv.batch * frames * rows * columns,
          job.conv.channels,
          job.relu,
          job.eps,
          job.conv.element,
          job.conv.threads};
}

}  // namespace

bool norm_depthwise(const NormDepthwise& job, const NormDepthwiseForward& arrays) noexcept {
  return guarded([&] {
    const BatchNorm norm = norm_of(job);
    if (!arrays.given) require_memory(batch_norm_moments(norm, arrays.input, arrays.mean, arrays.variance));
    const NormScale values(norm, arrays.norm_weight, arrays.norm_bias, arrays.mean, arrays.variance);
    const InputNorm input{arrays.mean, values.scale.data(), values.shift.data(), job.relu};
    require_memory(depthwise_conv(job.conv, &input, arrays.input, arrays.weight, arrays.output));
  });
}

bool norm_depthwise_backward(const NormDepthwise& job, const NormDepthwiseBackward& arrays) noexcept {
  return guarded([&] {
    const BatchNorm norm = norm_of(job);
    const NormScale values(norm, arrays.norm_weight, arrays.norm_bias, arrays.mean, arrays.variance);
    const InputNorm input{arrays.mean, values.scale.data(), values.shift.data(), job.relu};
    std::vector<double> sums(4 * values.scale.size());
    require_memory(depthwise_conv_gradients(job.conv, &input, arrays.input, arrays.output_gradient,
                                            arrays.weight,
                                            {arrays.input_gradient, arrays.weight_gradient, sums.data()}));
    require_memory(batch_norm_finish_backward(norm, sums.data(), sums.data() + sums.size() / 2,
                                              {.output_gradient = arrays.input_gradient,
                                               .input = arrays.input,
                                               .output = nullptr,
                                               .weight = arrays.norm_weight,
                                               .bias = arrays.norm_bias,
                                               .mean = arrays.mean,
                                               .variance = arrays.variance,
                                               .input_gradient = arrays.input_gradient,
                                               .residual_gradient = nullptr,
                                               .weight_gradient = arrays.norm_weight_gradient,
                                               .bias_gradient = arrays.norm_bias_gradient}));
  });
}

}  // namespace fastpose
