// The operators on rows of channels against their definitions in float64, by one set of
// instructions.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "arrays.hpp"
#include "attention/attention.hpp"
#include "check.hpp"
#include "instruction_sets.hpp"
#include "norm_depthwise/batch_norm.hpp"
#include "norm_depthwise/depthwise_conv.hpp"
#include "norm_depthwise/norm_depthwise.hpp"
#include "row_conv/row_conv.hpp"

namespace {

using namespace fastpose;

void test_depthwise(std::int64_t channels, const Volume& input, const Volume& kernel, const Volume& stride) {
  constexpr std::int64_t kBatch = 2;
  DepthwiseConv conv{kBatch, channels, input, kernel, stride, ElementType::kFloat32, kThreads};
  const Volume output = conv.output();
  const std::int64_t taps = kernel[0] * kernel[1] * kernel[2];
  // All values are of bfloat16, whose results then differ by rounding alone.
  const Halves half_x(draw(kBatch * input[0] * input[1] * input[2] * channels));
  const Halves half_gradient(draw(kBatch * output[0] * output[1] * output[2] * channels));
  const Values x = half_x.widened(), gradient = half_gradient.widened(), weight = draw(channels * taps);
  Truth y(gradient.size()), dx(x.size()), dweight(weight.size());
  const auto index = [&](const Volume& size, std::int64_t b, std::int64_t t, std::int64_t i, std::int64_t j) {
    return static_cast<std::size_t>((((b * size[0] + t) * size[1] + i) * size[2] + j) * channels);
  };
  for (std::int64_t at = 0; at < kBatch * output[0] * output[1] * output[2] * taps; ++at) {
    std::int64_t rest = at;
    const auto next = [&](std::int64_t size) {
      const std::int64_t digit = rest % size;
      rest /= size;
      return digit;
    };
    const std::int64_t kx = next(kernel[2]), ky = next(kernel[1]), kt = next(kernel[0]);
    const std::int64_t j = next(output[2]), i = next(output[1]), t = next(output[0]), b = next(kBatch);
    const Volume from{t * stride[0] + kt - kernel[0] / 2, i * stride[1] + ky - kernel[1] / 2,
                      j * stride[2] + kx - kernel[2] / 2};
    bool inside = true;
    for (std::size_t axis = 0; axis < 3; ++axis) inside &= from[axis] >= 0 && from[axis] < input[axis];
    if (!inside) continue;
    const std::size_t source = index(input, b, from[0], from[1], from[2]), target = index(output, b, t, i, j);
    for (std::size_t c = 0; c < static_cast<std::size_t>(channels); ++c) {
      const std::size_t w = c * static_cast<std::size_t>(taps) +
                            static_cast<std::size_t>((kt * kernel[1] + ky) * kernel[2] + kx);
      y[target + c] += static_cast<double>(x[source + c]) * weight[w];
      dx[source + c] += static_cast<double>(gradient[target + c]) * weight[w];
      dweight[w] += static_cast<double>(gradient[target + c]) * x[source + c];
    }
  }
  Values found_y = fresh(y.size()), found_dx = fresh(dx.size()), found_dweight = fresh(dweight.size());
  CHECK(depthwise_conv(conv, nullptr, x.data(), weight.data(), found_y.data()));
  CHECK(depthwise_conv_gradients(conv, nullptr, x.data(), gradient.data(), weight.data(),
                                 {found_dx.data(), found_dweight.data(), nullptr}));
  CHECK(close(found_y, y, 1e-5) && close(found_dx, dx, 1e-5) && close(found_dweight, dweight, 1e-5));

  conv.element = ElementType::kBFloat16;
  Halves half_y(y.size()), half_dx(dx.size());
  found_dweight = fresh(dweight.size());
  CHECK(depthwise_conv(conv, nullptr, half_x.bits.data(), weight.data(), half_y.bits.data()));
  CHECK(depthwise_conv_gradients(conv, nullptr, half_x.bits.data(), half_gradient.bits.data(), weight.data(),
                                 {half_dx.bits.data(), found_dweight.data(), nullptr}));
  CHECK(close(half_y.widened(), y, 4e-3) && close(half_dx.widened(), dx, 4e-3));
  CHECK(close(found_dweight, dweight, 1e-5));
}

void test_batch_norm(std::int64_t rows, std::int64_t channels, bool relu, bool summed) {
  BatchNorm norm{rows, channels, relu, 1e-5f, ElementType::kFloat32, kThreads};
  const Halves half_x(draw(rows * channels)), half_residual(draw(rows * channels)),
      half_gradient(draw(rows * channels));
  const Values x = half_x.widened(), residual = half_residual.widened(), gradient = half_gradient.widened();
  const Values weight = draw(channels), bias = draw(channels);
  const auto count = static_cast<std::size_t>(channels);
  Values y = fresh(x.size()), dx = y, dresidual = y, mean = fresh(count), variance = mean, dweight = mean,
         dbias = mean;
  CHECK(batch_norm(norm, {x.data(), summed ? residual.data() : nullptr, weight.data(), bias.data(), y.data(),
                          mean.data(), variance.data()}));
  const bool masked = relu && summed;
  CHECK(batch_norm_backward(
      norm, {gradient.data(), x.data(), masked ? y.data() : nullptr, weight.data(), bias.data(), mean.data(),
             variance.data(), dx.data(), masked ? dresidual.data() : nullptr, dweight.data(), dbias.data()}));
  Truth true_y(x.size()), true_dx(x.size()), true_dresidual(x.size()), true_dweight(count), true_dbias(count);
  for (std::size_t c = 0; c < count; ++c) {
    const auto n = static_cast<double>(rows);
    double center = 0, squares = 0;
    for (std::size_t at = c; at < x.size(); at += count) center += x[at] / n;
    for (std::size_t at = c; at < x.size(); at += count) squares += (x[at] - center) * (x[at] - center) / n;
    const double scale = 1 / std::sqrt(squares + 1e-5);
    for (std::size_t at = c; at < x.size(); at += count) {
      const double value = (x[at] - center) * scale * weight[c] + bias[c] + (summed ? residual[at] : 0.0f);
      true_y[at] = relu ? std::max(value, 0.0) : value;
      true_dresidual[at] = relu && y[at] <= 0 ? 0 : gradient[at];
      true_dbias[c] += true_dresidual[at];
      true_dweight[c] += true_dresidual[at] * (x[at] - center) * scale;
    }
    for (std::size_t at = c; at < x.size(); at += count) {
      true_dx[at] = weight[c] * scale *
                    (true_dresidual[at] - (true_dbias[c] + (x[at] - center) * scale * true_dweight[c]) / n);
    }
  }
  CHECK(close(y, true_y, 1e-5) && close(dx, true_dx, 1e-4));
  CHECK(close(dweight, true_dweight, 1e-5) && close(dbias, true_dbias, 1e-5));
  CHECK(!masked || close(dresidual, true_dresidual, 0));

  norm.element = ElementType::kBFloat16;
  Halves half_y(y.size()), half_dx(dx.size()), half_dresidual(dx.size());
  mean = variance = dweight = dbias = fresh(count);
  CHECK(batch_norm(norm, {half_x.bits.data(), summed ? half_residual.bits.data() : nullptr, weight.data(),
                          bias.data(), half_y.bits.data(), mean.data(), variance.data()}));
  CHECK(batch_norm_backward(
      norm, {half_gradient.bits.data(), half_x.bits.data(), masked ? half_y.bits.data() : nullptr,
             weight.data(), bias.data(), mean.data(), variance.data(), half_dx.bits.data(),
             masked ? half_dresidual.bits.data() : nullptr, dweight.data(), dbias.data()}));
  CHECK(close(half_y.widened(), true_y, 4e-3) && close(half_dx.widened(), true_dx, 4e-3));
  CHECK(close(dweight, true_dweight, 1e-5) && close(dbias, true_dbias, 1e-5));
  CHECK(!masked || close(half_dresidual.widened(), true_dresidual, 0));
}

void test_given_statistics(std::int64_t rows, std::int64_t channels) {
  const BatchNorm norm{rows, channels, true, 1e-5f, ElementType::kFloat32, kThreads};
  const auto count = static_cast<std::size_t>(channels);
  const Values x = draw(rows * channels), weight = draw(channels), bias = draw(channels),
               means = draw(channels);
  Values y = fresh(x.size()), mean = means, variance(count, 3.0f);
  CHECK(batch_norm(
      norm, {x.data(), nullptr, weight.data(), bias.data(), y.data(), mean.data(), variance.data(), true}));
  Truth expected(x.size());
  for (std::size_t at = 0; at < x.size(); ++at) {
    const std::size_t c = at % count;
    expected[at] = std::max((x[at] - double{means[c]}) / std::sqrt(3 + 1e-5) * weight[c] + bias[c], 0.0);
  }
  CHECK(close(y, expected, 1e-5) && mean == means && variance == Values(count, 3.0f));

  const DepthwiseConv conv{1, channels, {rows, 1, 1}, {1, 1, 1}, {1, 1, 1}, ElementType::kFloat32, kThreads};
  const Values ones(count, 1.0f);
  Values convolved = fresh(x.size());
  CHECK(norm_depthwise({conv, true, norm.eps}, {x.data(), weight.data(), bias.data(), ones.data(),
                                                convolved.data(), mean.data(), variance.data(), true}));
  CHECK(close(convolved, expected, 1e-5) && mean == means && variance == Values(count, 3.0f));
}

// No value of a channel is a number where one of its inputs is none.
void test_non_finite_batch_norm(float value) {
  constexpr std::int64_t kRows = 40, kChannels = 9;
  const BatchNorm norm{kRows, kChannels, false, 1e-5f, ElementType::kFloat32, kThreads};
  Values x = draw(kRows * kChannels), y = fresh(x.size()), mean = fresh(kChannels), variance = mean;
  const Values ones(kChannels, 1.0f);
  x[3 * kChannels + 2] = value;
  CHECK(batch_norm(norm,
                   {x.data(), nullptr, ones.data(), ones.data(), y.data(), mean.data(), variance.data()}));
  CHECK(std::isnan(variance[2]));
  for (std::size_t at = 0; at < y.size(); ++at) CHECK(std::isnan(y[at]) == (at % kChannels == 2));
}

// Against the two operators that it joins, one after the other.
void test_norm_depthwise(std::int64_t channels, const Volume& stride, bool relu) {
  const DepthwiseConv conv{2, channels, {5, 6, 7}, {3, 3, 3}, stride, ElementType::kFloat32, kThreads};
  const Volume size = conv.output();
  const std::int64_t rows = 2 * 5 * 6 * 7, out_rows = 2 * size[0] * size[1] * size[2];
  const BatchNorm norm{rows, channels, relu, 1e-5f, ElementType::kFloat32, kThreads};
  const auto count = static_cast<std::size_t>(channels);
  const Halves half_x(draw(rows * channels)), half_gradient(draw(out_rows * channels));
  const Values x = half_x.widened(), gradient = half_gradient.widened(), weight = draw(channels * 27),
               norm_weight = draw(channels), norm_bias = draw(channels);
  Values normed = fresh(x.size()), mean = fresh(count), variance = mean, y = fresh(gradient.size()),
         dnormed = normed, dx = normed, dweight = fresh(weight.size()), dnorm_weight = mean,
         dnorm_bias = mean;
  CHECK(batch_norm(norm, {x.data(), nullptr, norm_weight.data(), norm_bias.data(), normed.data(), mean.data(),
                          variance.data()}));
  CHECK(depthwise_conv(conv, nullptr, normed.data(), weight.data(), y.data()));
  CHECK(depthwise_conv_gradients(conv, nullptr, normed.data(), gradient.data(), weight.data(),
                                 {dnormed.data(), dweight.data(), nullptr}));
  CHECK(batch_norm_backward(
      norm, {dnormed.data(), x.data(), nullptr, norm_weight.data(), norm_bias.data(), mean.data(),
             variance.data(), dx.data(), nullptr, dnorm_weight.data(), dnorm_bias.data()}));

  NormDepthwise job{conv, relu, norm.eps};
  Values found_y = fresh(y.size()), found_mean = fresh(count), found_variance = found_mean,
         found_dx = fresh(x.size()), found_dweight = fresh(weight.size()), found_dnorm_weight = found_mean,
         found_dnorm_bias = found_mean;
  CHECK(norm_depthwise(job, {x.data(), norm_weight.data(), norm_bias.data(), weight.data(), found_y.data(),
                             found_mean.data(), found_variance.data()}));
  CHECK(norm_depthwise_backward(
      job, {gradient.data(), x.data(), norm_weight.data(), norm_bias.data(), weight.data(), mean.data(),
            variance.data(), found_dx.data(), found_dnorm_weight.data(), found_dnorm_bias.data(),
            found_dweight.data()}));
  const auto agree = [](const Values& found, const Values& expected) {
    return close(found, Truth(expected.begin(), expected.end()), 1e-4);
  };
  CHECK(found_mean == mean && found_variance == variance);
  CHECK(agree(found_y, y) && agree(found_dx, dx) && agree(found_dweight, dweight));
  CHECK(agree(found_dnorm_weight, dnorm_weight) && agree(found_dnorm_bias, dnorm_bias));

  job.conv.element = ElementType::kBFloat16;
  Halves half_y(y.size()), half_dx(dx.size());
  found_mean = found_variance = found_dnorm_weight = found_dnorm_bias = fresh(count);
  found_dweight = fresh(weight.size());
  CHECK(norm_depthwise(job, {half_x.bits.data(), norm_weight.data(), norm_bias.data(), weight.data(),
                             half_y.bits.data(), found_mean.data(), found_variance.data()}));
  CHECK(norm_depthwise_backward(
      job, {half_gradient.bits.data(), half_x.bits.data(), norm_weight.data(), norm_bias.data(),
            weight.data(), mean.data(), variance.data(), half_dx.bits.data(), found_dnorm_weight.data(),
            found_dnorm_bias.data(), found_dweight.data()}));
  CHECK(found_mean == mean && found_variance == variance);
  CHECK(close(half_y.widened(), Truth(y.begin(), y.end()), 4e-3));
  CHECK(close(half_dx.widened(), Truth(dx.begin(), dx.end()), 8e-3));  // rounded twice
  CHECK(agree(found_dweight, dweight));
  CHECK(agree(found_dnorm_weight, dnorm_weight) && agree(found_dnorm_bias, dnorm_bias));
}

// What is gathered for all inputs alike, 1 + 2^-9, is stored as 1: the norm's parameters see the former, and
// the input's gradient, all mean, cancels to zero by the latter.
void test_norm_depthwise_of_a_rounded_gradient() {
  constexpr std::int64_t kSide = 5, kChannels = 11, kRows = kSide * kSide * kSide;
  const NormDepthwise job{
      {1, kChannels, {kSide, kSide, kSide}, {1, 1, 1}, {1, 1, 1}, ElementType::kBFloat16, kThreads},
      false,
      1e-5f};
  const Halves x(draw(kRows * kChannels)), gradient(Values(kRows * kChannels, 1.0f));
  const Values ones(kChannels, 1.0f), weight(kChannels, 1.0f + 0x1p-9f);
  Halves y(x.bits.size()), dx(x.bits.size());
  Values mean = fresh(kChannels), variance = mean, dweight = mean, dnorm_weight = mean, dnorm_bias = mean;
  CHECK(norm_depthwise(job, {x.bits.data(), ones.data(), ones.data(), weight.data(), y.bits.data(),
                             mean.data(), variance.data()}));
  CHECK(norm_depthwise_backward(
      job, {gradient.bits.data(), x.bits.data(), ones.data(), ones.data(), weight.data(), mean.data(),
            variance.data(), dx.bits.data(), dnorm_weight.data(), dnorm_bias.data(), dweight.data()}));
  CHECK(close(dx.widened(), Truth(dx.bits.size(), 0.0), 1e-5));
  CHECK(close(dnorm_bias, Truth(kChannels, kRows * (1 + 0x1p-9)), 1e-6));
}

void test_attention(std::int64_t length, std::int64_t inner, std::int64_t dim) {
  constexpr std::int64_t kOuter = 2, kHeads = 2;
  const Attention attention{kOuter, length, inner, kHeads, dim, ElementType::kFloat32, kThreads};
  const std::int64_t channels = kHeads * dim;
  const Values qkv = draw(kOuter * length * inner * 3 * channels),
               gradient = draw(kOuter * length * inner * channels);
  Values output = fresh(gradient.size()), dqkv = fresh(qkv.size());
  CHECK(attend(attention, qkv.data(), output.data()));
  CHECK(attend_backward(attention, qkv.data(), gradient.data(), dqkv.data()));
  Truth true_output(output.size()), true_dqkv(qkv.size());
  const double scale = 1 / std::sqrt(static_cast<double>(dim));
  for (std::int64_t unit = 0; unit < kOuter * inner * kHeads; ++unit) {
    const std::int64_t head = unit % kHeads, i = unit / kHeads % inner, outer = unit / kHeads / inner;
    const auto token = [&](std::int64_t t) { return (outer * length + t) * inner + i; };
    const auto part = [&](std::int64_t t, std::int64_t which) {
      return static_cast<std::size_t>((token(t) * 3 + which) * channels + head * dim);
    };
    const auto dot = [&](const float* a, const float* b) {
      double sum = 0;
      for (std::int64_t c = 0; c < dim; ++c) sum += static_cast<double>(a[c]) * b[c];
      return sum;
    };
    for (std::int64_t t = 0; t < length; ++t) {
      const auto at = static_cast<std::size_t>(token(t) * channels + head * dim);
      Truth weights, changes;
      double total = 0, mean = 0;
      for (std::int64_t u = 0; u < length; ++u) {
        weights.push_back(std::exp(scale * dot(&qkv[part(t, 0)], &qkv[part(u, 1)])));
        changes.push_back(dot(&gradient[at], &qkv[part(u, 2)]));
        total += weights.back();
      }
      for (std::size_t u = 0; u < weights.size(); ++u) mean += (weights[u] /= total) * changes[u];
      for (std::int64_t u = 0; u < length; ++u) {
        const double weight = weights[static_cast<std::size_t>(u)];
        const double change = scale * weight * (changes[static_cast<std::size_t>(u)] - mean);
        for (std::size_t c = 0; c < static_cast<std::size_t>(dim); ++c) {
          true_output[at + c] += weight * qkv[part(u, 2) + c];
          true_dqkv[part(t, 0) + c] += change * qkv[part(u, 1) + c];
          true_dqkv[part(u, 1) + c] += change * qkv[part(t, 0) + c];
          true_dqkv[part(u, 2) + c] += weight * gradient[at + c];
        }
      }
    }
  }
  CHECK(close(output, true_output, 1e-5) && close(dqkv, true_dqkv, 1e-5));
}

// The convolution of relu(batch norm of x) by given statistics, with statistics of its own that have
// gradients.
void test_row_conv(std::int64_t channels, std::int64_t outs, const Volume& input, const Volume& kernel,
                   const Volume& stride) {
  constexpr std::int64_t kBatch = 2;
  constexpr float kEps = 1e-3f;
  const RowConv conv{kBatch, channels, outs, input, kernel, stride, kThreads};
  const Volume output = conv.output();
  const std::int64_t taps = kernel[0] * kernel[1] * kernel[2];
  const std::int64_t rows = kBatch * output[0] * output[1] * output[2];
  const auto in = static_cast<std::size_t>(channels), out = static_cast<std::size_t>(outs);
  const Values x = draw(kBatch * input[0] * input[1] * input[2] * channels), gradient = draw(rows * outs),
               weight = draw(outs * channels * taps), mean = draw(channels), norm_weight = draw(channels),
               norm_bias = draw(channels), mean_gradient = draw(outs), variance_gradient = draw(outs);
  Values variance = draw(channels);
  for (float& value : variance) value = value * value + 0.5f;
  Values y = fresh(gradient.size()), y_mean = fresh(out), y_variance = fresh(out), dx = fresh(x.size()),
         dweight = fresh(weight.size()), dnorm = fresh(4 * in);
  const RowNorm norm{mean.data(), variance.data(), norm_weight.data(), norm_bias.data(), kEps, true};
  CHECK(row_conv(conv, {x.data(), norm, weight.data(), y.data(), y_mean.data(), y_variance.data(), {}}));
  CHECK(row_conv_backward(
      conv, {x.data(), norm, weight.data(), y.data(), y_mean.data(), gradient.data(), mean_gradient.data(),
             variance_gradient.data(), dx.data(), dweight.data(), dnorm.data()}));

  Truth scale(in), activation(x.size()), true_y(y.size()), true_mean(out), true_variance(out),
      change(y.size()), true_dx(x.size()), true_dweight(weight.size()), true_dnorm(4 * in);
  for (std::size_t c = 0; c < in; ++c) scale[c] = 1 / std::sqrt(static_cast<double>(variance[c]) + kEps);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const std::size_t c = i % in;
    activation[i] =
        std::max(0.0, (static_cast<double>(x[i]) - mean[c]) * scale[c] * norm_weight[c] + norm_bias[c]);
  }
  // Calls body(row of y, row of x, tap) for each product of them.
  const auto each_product = [&](const auto& body) {
    for (std::int64_t row = 0; row < rows; ++row) {
      const std::int64_t j = row % output[2], i = row / output[2] % output[1];
      const std::int64_t t = row / (output[2] * output[1]) % output[0],
                         b = row / (output[2] * output[1] * output[0]);
      for (std::int64_t tap = 0; tap < taps; ++tap) {
        const Volume from{t * stride[0] + tap / (kernel[2] * kernel[1]) - kernel[0] / 2,
                          i * stride[1] + tap / kernel[2] % kernel[1] - kernel[1] / 2,
                          j * stride[2] + tap % kernel[2] - kernel[2] / 2};
        bool inside = true;
        for (std::size_t axis = 0; axis < 3; ++axis) inside &= from[axis] >= 0 && from[axis] < input[axis];
        if (inside) body(row, ((b * input[0] + from[0]) * input[1] + from[1]) * input[2] + from[2], tap);
      }
    }
  };
  const auto each_weight = [&](const auto& body) {
    each_product([&](std::int64_t row, std::int64_t source, std::int64_t tap) {
      for (std::int64_t o = 0; o < outs; ++o) {
        for (std::int64_t c = 0; c < channels; ++c) {
          body(static_cast<std::size_t>(row * outs + o), static_cast<std::size_t>(source * channels + c),
               static_cast<std::size_t>((o * channels + c) * taps + tap));
        }
      }
    });
  };
  each_weight(
      [&](std::size_t to, std::size_t from, std::size_t w) { true_y[to] += activation[from] * weight[w]; });
  const auto count = static_cast<double>(rows);
  for (std::size_t i = 0; i < y.size(); ++i) true_mean[i % out] += true_y[i] / count;
  for (std::size_t i = 0; i < y.size(); ++i) {
    const std::size_t o = i % out;
    const double distance = true_y[i] - true_mean[o];
    true_variance[o] += distance * distance / count;
    change[i] = gradient[i] + (mean_gradient[o] + 2 * variance_gradient[o] * distance) / count;
  }
  each_weight([&](std::size_t to, std::size_t from, std::size_t w) {
    true_dx[from] += change[to] * weight[w];
    true_dweight[w] += change[to] * activation[from];
  });
  for (std::size_t i = 0; i < x.size(); ++i) {
    const std::size_t c = i % in;
    const double passed = activation[i] > 0 ? true_dx[i] : 0;
    const double distance = static_cast<double>(x[i]) - mean[c];
    true_dx[i] = passed * scale[c] * norm_weight[c];
    true_dnorm[c] -= passed * scale[c] * norm_weight[c];
    true_dnorm[in + c] -= 0.5 * passed * distance * scale[c] * scale[c] * scale[c] * norm_weight[c];
    true_dnorm[2 * in + c] += passed * distance * scale[c];
    true_dnorm[3 * in + c] += passed;
  }
  CHECK(close(y, true_y, 1e-5) && close(y_mean, true_mean, 1e-5) && close(y_variance, true_variance, 1e-5));
  CHECK(close(dx, true_dx, 1e-5) && close(dweight, true_dweight, 1e-5) && close(dnorm, true_dnorm, 1e-5));
}

}  // namespace

int main(int argc, char** argv) {
  use_instructions(argc, argv);
  for (const std::int64_t channels : {1, 7, 8, 17, 33, 217}) {
    test_depthwise(channels, {5, 7, 6}, {3, 3, 3}, {1, 2, 2});
    test_depthwise(channels, {14, 3, 2}, {5, 7, 9}, {2, 3, 4});
    test_depthwise(channels, {13, 9, 20}, {1, 3, 3}, {1, 1, 1});
    test_depthwise(channels, {2, 3, 4}, {1, 3, 5}, {7, 5, std::int64_t{1} << 61});
    test_norm_depthwise(channels, {1, 1, 1}, true);
    test_norm_depthwise(channels, {1, 2, 2}, false);
    for (const std::int64_t rows : {5, 17, 700}) {
      for (const int choice : {0, 1, 2, 3}) test_batch_norm(rows, channels, choice % 2 != 0, choice > 1);
    }
  }
  // Several units of work, of more than one clip, by one thread.
  test_depthwise(17, {290, 2, 2}, {3, 3, 3}, {1, 1, 1});
  test_depthwise(5, {290, 2, 2}, {3, 1, 3}, {1, 1, 2});
  for (const std::int64_t channels : {1, 9, 32}) {
    test_row_conv(channels, 33, {5, 7, 6}, {1, 1, 1}, {1, 1, 1});
    test_row_conv(channels, 8, {5, 7, 6}, {3, 1, 1}, {2, 1, 1});
    test_row_conv(channels, 17, {3, 7, 6}, {1, 3, 3}, {1, 2, 2});
    test_row_conv(channels, 70, {3, 5, 6}, {3, 3, 3}, {1, 1, 1});
    test_row_conv(channels, 5, {5, 7, 6}, {1, 1, 1}, {2, 2, 3});
    test_row_conv(channels, 5, {4, 1, 1}, {3, 5, 3}, {5, 1, 2});
  }
  test_norm_depthwise_of_a_rounded_gradient();
  test_given_statistics(37, 11);
  test_non_finite_batch_norm(std::numeric_limits<float>::infinity());
  test_non_finite_batch_norm(std::numeric_limits<float>::quiet_NaN());
  for (const std::int64_t length : {1, 7, 8, 17, 33}) {
    for (const std::int64_t dim : {1, 8, 13, 72}) test_attention(length, 3, dim);
  }
}
