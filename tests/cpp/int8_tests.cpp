// Convolution in whole numbers against its definition in float64, by one set of instructions.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "arrays.hpp"
#include "check.hpp"
#include "instruction_sets.hpp"
#include "int8_conv/byte_product.hpp"
#include "int8_conv/int8_conv.hpp"

namespace {

using namespace fastpose;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

std::size_t index(std::int64_t at) {
  return static_cast<std::size_t>(at);
}

// Whole numbers [C', taps, C] as the core takes them.
struct Packed {
  std::vector<std::int8_t> weights;
  Values sums;

  Packed(const std::vector<int>& whole, std::int64_t outs, std::int64_t taps, std::int64_t channels) {
    const std::int64_t panels = (outs + kBytePanelColumns - 1) / kBytePanelColumns,
                       depth = (channels + 3) / 4 * 4;
    weights.resize(index(panels * taps * depth * kBytePanelColumns));
    sums.resize(index(panels * taps * kBytePanelColumns));
    for (std::int64_t o = 0; o < outs; ++o) {
      const std::int64_t panel = o / kBytePanelColumns, column = o % kBytePanelColumns;
      for (std::int64_t tap = 0; tap < taps; ++tap) {
        for (std::int64_t c = 0; c < channels; ++c) {
          const int value = whole[index((o * taps + tap) * channels + c)];
          const std::int64_t group = (panel * taps + tap) * depth / 4 + c / 4;
          weights[index((group * kBytePanelColumns + column) * 4 + c % 4)] = static_cast<std::int8_t>(value);
          sums[index((panel * taps + tap) * kBytePanelColumns + column)] += static_cast<float>(value);
        }
      }
    }
  }
};

// Each place holds whole numbers from `low` to low + 255, both of which occur, so that nothing is rounded.
void test_exact(std::int64_t channels, std::int64_t outs, const Volume& input, const Volume& kernel,
                const Volume& stride, int low) {
  constexpr std::int64_t kBatch = 2;
  const RowConv conv{kBatch, channels, outs, input, kernel, stride, kThreads};
  const Volume output = conv.output();
  const std::int64_t taps = kernel[0] * kernel[1] * kernel[2];
  const std::int64_t places = kBatch * input[0] * input[1] * input[2];
  const std::int64_t rows = kBatch * output[0] * output[1] * output[2];
  static std::mt19937 random(2);
  Values x(index(places * channels));
  for (std::size_t i = 0; i < x.size(); ++i) {
    const auto c = static_cast<std::int64_t>(i) % channels;
    x[i] = static_cast<float>(c == 0              ? low
                              : c == channels - 1 ? low + 255
                                                  : low + static_cast<int>(random() % 256));
  }
  std::vector<int> whole(index(outs * taps * channels));
  for (int& value : whole) value = static_cast<int>(random() % 255) - 127;
  const Packed packed(whole, outs, taps, channels);
  const Values scale = draw(outs), shift = draw(outs), residual = draw(rows * outs);
  for (const bool finished : {true, false}) {
    Values y = fresh(index(rows * outs));
    CHECK(int8_conv(conv, {x.data(),
                           packed.weights.data(),
                           packed.sums.data(),
                           {scale.data(), shift.data(), finished ? residual.data() : nullptr, finished},
                           y.data()}));
    Truth truth(y.size());
    for (std::int64_t row = 0; row < rows; ++row) {
      const std::int64_t j = row % output[2], i = row / output[2] % output[1];
      const std::int64_t t = row / (output[2] * output[1]) % output[0];
      const std::int64_t b = row / (output[2] * output[1] * output[0]);
      for (std::int64_t o = 0; o < outs; ++o) {
        double sum = 0;
        for (std::int64_t tap = 0; tap < taps; ++tap) {
          const Volume from{t * stride[0] + tap / (kernel[2] * kernel[1]) - kernel[0] / 2,
                            i * stride[1] + tap / kernel[2] % kernel[1] - kernel[1] / 2,
                            j * stride[2] + tap % kernel[2] - kernel[2] / 2};
          bool inside = true;
          for (std::size_t axis = 0; axis < 3; ++axis) inside &= from[axis] >= 0 && from[axis] < input[axis];
          if (!inside) continue;
          const std::int64_t place = ((b * input[0] + from[0]) * input[1] + from[1]) * input[2] + from[2];
          for (std::int64_t c = 0; c < channels; ++c) {
            sum += static_cast<double>(x[index(place * channels + c)]) *
                   whole[index((o * taps + tap) * channels + c)];
          }
        }
        const std::size_t at = index(row * outs + o);
        const double value = sum * scale[index(o)] + shift[index(o)];
        truth[at] = finished ? std::max(0.0, value + residual[at]) : value;
      }
    }
    CHECK(close(y, truth, 1e-6));
  }
}

// One row and one column: what bytes of a row its products are of.
float product(const Values& row, const std::vector<int>& whole) {
  const auto channels = static_cast<std::int64_t>(row.size());
  const Packed packed(whole, 1, 1, channels);
  const float scale = 1, shift = 0;
  float y = kNaN;
  CHECK(int8_conv(
      {1, channels, 1, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}, 1},
      {row.data(), packed.weights.data(), packed.sums.data(), {&scale, &shift, nullptr, false}, &y}));
  return y;
}

void test_ranges() {
  constexpr float kInfinity = std::numeric_limits<float>::infinity(),
                  kMost = std::numeric_limits<float>::max();
  for (const std::size_t channels : {1u, 3u, 8u, 19u}) {
    for (std::size_t at = 0; at < channels; ++at) {
      std::vector<int> whole(channels);
      whole[at] = 1;
      Values row(channels);
      CHECK(product(row, whole) == 0);
      for (const float value : {1.0f, -1.0f, 1e-35f, -1e38f, kMost, -kMost}) {
        row[at] = value;
        CHECK(std::abs(product(row, whole) / value - 1) < 1e-6f);
      }
      row[at] = 1e-37f;  // has no step of which one could divide
      CHECK(std::abs(product(row, whole)) <= 1e-37f);
      for (const float value : {kNaN, kInfinity, -kInfinity}) {
        row[at] = value;
        CHECK(std::isnan(product(row, whole)));
      }
    }
  }
  CHECK(std::abs(product({-1e38f, 1e38f}, {0, 1}) / 1e38f - 1) < 1e-6f);
  // Half a step at most is lost, and zero is a level of rows without negative numbers.
  CHECK(std::abs(product({5, 1.007f, 0.0f}, {0, 1, 0}) - 1.007f) <= 2.5f / 255 + 1e-6f);
  CHECK(product({5, 0, 1.0f}, {0, 1, 0}) == 0);
}

}  // namespace

int main(int argc, char** argv) {
  use_instructions(argc, argv);
  for (const std::int64_t channels : {2, 9, 32}) {
    for (const int low : {0, -100}) {
      test_exact(channels, 33, {5, 7, 6}, {1, 1, 1}, {1, 1, 1}, low);
      test_exact(channels, 8, {5, 7, 6}, {3, 1, 1}, {2, 1, 1}, low);
      test_exact(channels, 17, {3, 7, 6}, {1, 3, 3}, {1, 2, 2}, low);
      test_exact(channels, 70, {3, 5, 6}, {3, 3, 3}, {1, 1, 1}, low);
      test_exact(channels, 5, {5, 7, 6}, {1, 1, 1}, {2, 2, 3}, low);
    }
  }
  test_exact(600, 40, {1, 1, 13}, {1, 1, 1}, {1, 1, 1}, -1);
  test_ranges();
}
