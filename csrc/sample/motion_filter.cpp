#include "sample/motion_filter.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>

#include "base/floats.hpp"
#include "base/instructions.hpp"

namespace fastpose {
namespace {

constexpr int kFillingRounds = 3;
constexpr double kLeastNoise = 1e-3;  // of the box, squared, while missing joints are filled in
constexpr double kHalfBox = 2.4;      // deviations of the joints from the centre of the box to its side
constexpr double kLeastHalf = 1e-6;   // of a box, pixels; a person that is smaller is a point
constexpr double kLeastSpread = 0.03;

constexpr std::array kDriftShares = {0.05, 0.15, 0.3, 0.5, 0.7, 0.85, 1.0};
constexpr std::array kPersistences = {0.6, 0.8, 0.9, 0.95};
constexpr std::array kAmplitudes = {0.5, 1.0, 2.5};
constexpr std::size_t kNoises = 1 + kDriftShares.size() * kPersistences.size();  // white alone comes first

// The share of the variance of such a drift that second differences see.
constexpr double drift_seen(double persistence) {
  return (6.0 - 8.0 * persistence + 2.0 * persistence * persistence) / 6.0;
}

std::int64_t whole_vectors(std::int64_t count) {
  return (count + kLanes - 1) / kLanes * kLanes;
}

double half_box(const double (&variance)[2], double noise_x, double noise_y) {
  const double spread = std::max(own_variance(variance[0], noise_x), own_variance(variance[1], noise_y));
  const double half = kHalfBox * std::sqrt(spread);
  return half > kLeastHalf ? half : 1.0;
}

// Sums of logarithms as products: numbers in [1, 2), and the powers of two taken out of them.
struct LogSums {
  Floats products = Floats{} + 1.0f;
  Ints powers{};

  // Takes in positive normal factors, whose product with a number below 2 is normal too.
  void add(const Floats& factors) {
    const Ints bits = reinterpret_cast<Ints>(products * factors);
    powers += (bits >> 23) - 127;
    products = reinterpret_cast<Floats>((bits & 0x007FFFFF) | 0x3F800000);
  }

  double total() const {
    double product = 1.0;
    std::int64_t power = 0;
    for (int lane = 0; lane < kLanes; ++lane) {
      product *= double{products[lane]};
      power += powers[lane];
    }
    return std::log(product) + 0.69314718055994531 * static_cast<double>(power);
  }
};

// The left factor of a product, row by row or column by column.
struct Factor {
  const float* values;
  std::int64_t row_step, depth_step;
};

template <int kRows, int kColumns>
[[gnu::always_inline]] inline void multiply_tile(const Factor& left, const float* right, std::int64_t stride,
                                                 std::int64_t depth, float* out) {
  Floats sums[kRows][kColumns] = {};
  for (std::int64_t k = 0; k < depth; ++k) {
    Floats columns[kColumns];
    for (int n = 0; n < kColumns; ++n) load(right + k * stride + n * kLanes, columns[n]);
    for (int m = 0; m < kRows; ++m) {
      const float factor = left.values[m * left.row_step + k * left.depth_step];
      for (int n = 0; n < kColumns; ++n) sums[m][n] += factor * columns[n];
    }
  }
  for (int m = 0; m < kRows; ++m)
    for (int n = 0; n < kColumns; ++n) store(sums[m][n], out + m * stride + n * kLanes);
}

// out [rows, stride] = left · right [depth, stride]; the columns are whole vectors.
[[gnu::always_inline]] inline void multiply(const Factor& left, std::int64_t rows, std::int64_t depth,
                                            const float* right, std::int64_t stride, float* out) {
  std::int64_t row = 0;
  for (; row + 4 <= rows; row += 4) {
    const Factor part{left.values + row * left.row_step, left.row_step, left.depth_step};
    std::int64_t c = 0;
    for (; c + 2 * kLanes <= stride; c += 2 * kLanes)
      multiply_tile<4, 2>(part, right + c, stride, depth, out + row * stride + c);
    if (c < stride) multiply_tile<4, 1>(part, right + c, stride, depth, out + row * stride + c);
  }
  for (; row < rows; ++row) {
    const Factor part{left.values + row * left.row_step, left.row_step, left.depth_step};
    std::int64_t c = 0;
    for (; c + 8 * kLanes <= stride; c += 8 * kLanes)
      multiply_tile<1, 8>(part, right + c, stride, depth, out + row * stride + c);
    for (; c < stride; c += kLanes)
      multiply_tile<1, 1>(part, right + c, stride, depth, out + row * stride + c);
  }
}

[[gnu::always_inline]] inline float lanes_total(const Floats& sum) {
  return ((sum[0] + sum[4]) + (sum[1] + sum[5])) + ((sum[2] + sum[6]) + (sum[3] + sum[7]));
}

// out [4] += rows [4, depth] · vector; the depth is whole vectors.
[[gnu::always_inline]] inline void add_dot_products(const float* rows, const float* vector,
                                                    std::int64_t depth, float* out) {
  Floats sums[4] = {};
  for (std::int64_t k = 0; k < depth; k += kLanes) {
    Floats block;
    load(vector + k, block);
    for (std::int64_t m = 0; m < 4; ++m) {
      Floats row;
      load(rows + m * depth + k, row);
      sums[m] += row * block;
    }
  }
  for (int m = 0; m < 4; ++m) out[m] += lanes_total(sums[m]);
}

double lanes_sum(const Floats& block) {
  double sum = 0.0;
  for (int lane = 0; lane < kLanes; ++lane) sum += double{block[lane]};
  return sum;
}

}  // namespace

double own_variance(double variance, double noise) {
  return std::max(variance - noise, kLeastSpread * variance);
}

// One track on its way through the filter.
struct TrackFilter {
  const MotionFilter& filter;
  const Track& track;
  FilterMemory& memory;
  ToldNoise told{};

  std::int64_t frames() const { return filter.clip_len_; }
  std::int64_t width() const { return filter.width_; }

  template <class Target>
  void run() {
    const auto size = static_cast<std::size_t>(frames() * width());
    const auto all = static_cast<std::size_t>(kFrequencies * width());
    memory.scaled.resize(size);
    memory.known.resize(size);
    memory.filled.resize(size);
    memory.filtered.resize(size);
    memory.coefficients.resize(all);
    memory.surprise.resize(all);
    memory.along.resize(all);
    memory.gains.resize(static_cast<std::size_t>(filter.num_directions_));
    const bool whole = find_known();
    double half = half_box(track.variance, track.white[0], track.white[1]);
    const double level = (track.white[0] + track.white[1]) / 2.0 / (half * half);
    make_waves();
    double white_mean = 0.0;
    for (std::int64_t k = 0; k < kFrequencies; ++k) white_mean += memory.seen[static_cast<std::size_t>(k)];
    white_mean /= kFrequencies;
    scale(half);
    double noise = level * white_mean;
    if (!whole) {
      make_frames(filter.mean_.data(), memory.filtered.data());
      for (int round = 0; round < kFillingRounds; ++round) fill_in(noise);
    }
    told = {level * half * half, 0.0};
    if (filter.tells_drift_) {
      find_filled(whole);
      find_coefficients(values(whole));
      const std::array<double, 3> found = tell(level);
      told = {found[0] * half * half, found[1] * half * half};
      const double other_half = half_box(track.variance, told.white + told.drift, told.white + told.drift);
      const double change = half / other_half;
      noise = found[2] * change * change;
      half = other_half;
      scale(half);
      if (!whole) {
        for (float& value : memory.filtered) value *= static_cast<float>(change);
        fill_in(noise);
      }
    }
    find_filled(whole);
    wiener(values(whole), noise);
    for (std::size_t i = 0; !whole && i < size; ++i)
      memory.filtered[i] = memory.known[i] > 0.0f ? memory.filtered[i] : memory.filled[i];
    write_back(half);
  }

  // Whether a joint is known, for both of its coordinates; returns whether all are.
  bool find_known() {
    bool whole = true;
    for (std::int64_t t = 0; t < frames(); ++t) {
      float* const row = memory.known.data() + t * width();
      std::fill_n(row, width(), 1.0f);
      for (std::int64_t v = 0; v < filter.num_joints_; ++v) {
        const bool known = track.counts[t * filter.num_joints_ + v] > 0.0f;
        row[2 * v] = row[2 * v + 1] = known ? 1.0f : 0.0f;
        whole &= known;
      }
    }
    return whole;
  }

  void scale(double half) {
    const auto x = static_cast<float>(track.center[0]);
    const auto y = static_cast<float>(track.center[1]);
    const auto inverse = static_cast<float>(1.0 / half);
    for (std::int64_t t = 0; t < frames(); ++t) {
      float* const row = memory.scaled.data() + t * width();
      const float* const joints = track.joints + 3 * t * filter.num_joints_;
      std::fill_n(row, width(), 0.0f);
      for (std::int64_t v = 0; v < filter.num_joints_; ++v) {
        row[2 * v] = (joints[3 * v] - x) * inverse;
        row[2 * v + 1] = (joints[3 * v + 1] - y) * inverse;
      }
    }
  }

  void write_back(double half) {
    const auto x = static_cast<float>(track.center[0]);
    const auto y = static_cast<float>(track.center[1]);
    const auto side = static_cast<float>(half);
    for (std::int64_t t = 0; t < frames(); ++t) {
      const float* const row = memory.filtered.data() + t * width();
      float* const joints = track.joints + 3 * t * filter.num_joints_;
      for (std::int64_t v = 0; v < filter.num_joints_; ++v) {
        joints[3 * v] = x + side * row[2 * v];
        joints[3 * v + 1] = y + side * row[2 * v + 1];
      }
    }
  }

  // The weights of the clip's frames in each coefficient [num_frames, K], and in `seen` the variance that
  // white noise of variance 1, and drift of each persistence, has in it [1 + persistences, K].
  void make_waves() {
    memory.waves.assign(static_cast<std::size_t>(track.num_frames * kFrequencies), 0.0f);
    for (std::int64_t t = 0; t < frames(); ++t) {
      const float share = 1.0f / static_cast<float>((track.ends[t] - track.begins[t]) * frames());
      for (std::int32_t frame = track.begins[t]; frame < track.ends[t]; ++frame) {
        float* const row = memory.waves.data() + frame * kFrequencies;
        for (std::int64_t k = 0; k < kFrequencies; ++k) row[k] += share * filter.cosines_[k * frames() + t];
      }
    }
    memory.seen.assign((1 + kPersistences.size()) * kFrequencies, 0.0);
    double* seen = memory.seen.data();
    // Frames of the clip outside of all parts have no weight.
    std::int64_t first = 0, last = track.num_frames;
    while (first < last && is_idle(first)) ++first;
    while (last > first && is_idle(last - 1)) --last;
    for (std::int64_t frame = first; frame < last; ++frame) {
      const float* const row = memory.waves.data() + frame * kFrequencies;
      for (std::int64_t k = 0; k < kFrequencies; ++k) seen[k] += double{row[k]} * double{row[k]};
    }
    if (!filter.tells_drift_) return;
    for (const double persistence : kPersistences) {
      seen += kFrequencies;
      // Σ w_s w_t ρ^|s - t|, from the sum of what came before
      std::array<float, kFrequencies> left{}, sums{};
      const auto rho = static_cast<float>(persistence);
      for (std::int64_t frame = first; frame < last; ++frame) {
        const float* const row = memory.waves.data() + frame * kFrequencies;
        for (std::size_t k = 0; k < kFrequencies; ++k) {
          left[k] *= rho;
          sums[k] += row[k] * (row[k] + 2.0f * left[k]);
          left[k] += row[k];
        }
      }
      for (std::size_t k = 0; k < kFrequencies; ++k) seen[k] = std::max(double{sums[k]}, 0.0);
    }
  }

  bool is_idle(std::int64_t frame) const {
    const float* const row = memory.waves.data() + frame * kFrequencies;
    return std::all_of(row, row + kFrequencies, [](float weight) { return weight == 0.0f; });
  }

  // Coefficients of frames [T, width], and in `surprise` less their mean.
  void find_coefficients(const float* values) {
    float* const coefficients = memory.coefficients.data();
    multiply({filter.cosines_.data(), frames(), 1}, kFrequencies, frames(), values, width(), coefficients);
    const float share = 1.0f / static_cast<float>(frames());
    for (std::size_t i = 0; i < memory.coefficients.size(); ++i) {
      coefficients[i] *= share;
      memory.surprise[i] = coefficients[i] - filter.mean_[i];
    }
  }

  // Frames [T, width] of coefficients [K, width].
  void make_frames(const float* coefficients, float* values) const {
    multiply({filter.cosines_.data(), 1, frames()}, frames(), kFrequencies, coefficients, width(), values);
  }

  // `filled` is what is known, and else what `filtered` says.
  void find_filled(bool whole) {
    for (std::size_t i = 0; !whole && i < memory.filled.size(); ++i)
      memory.filled[i] = memory.known[i] > 0.0f ? memory.scaled[i] : memory.filtered[i];
  }

  const float* values(bool whole) const { return whole ? memory.scaled.data() : memory.filled.data(); }

  // Brings what `filtered` says of missing joints nearer to what is to be expected of them.
  void fill_in(double noise) {
    find_filled(false);
    wiener(memory.filled.data(), std::max(noise, kLeastNoise / static_cast<double>(frames())));
  }

  // `filtered` becomes the frames without noise of such a variance in a coefficient.
  void wiener(const float* values, double noise_) {
    find_coefficients(values);
    const auto noise = static_cast<float>(noise_);
    const std::int64_t directions = filter.num_directions_;
    const float rest = filter.rest_ / (filter.rest_ + noise);
    float* const gains = memory.gains.data();
    const std::int64_t all = kFrequencies * width();
    multiply({memory.surprise.data(), all, 1}, 1, all, filter.directions_.data(), directions, gains);
    for (std::int64_t r = 0; r < directions; ++r)
      gains[r] *= filter.variances_[static_cast<std::size_t>(r)] /
                      (filter.variances_[static_cast<std::size_t>(r)] + noise) -
                  rest;
    const auto beyond = static_cast<float>(std::max<std::int64_t>(frames() - kFrequencies, 0));
    const float above = filter.above_ / (filter.above_ + noise * beyond);
    // What is expected, less as much of the coefficients as will come back with the values themselves.
    float* const expected = memory.along.data();
    for (std::int64_t n = 0; n < all; ++n) {
      const auto at = static_cast<std::size_t>(n);
      expected[n] = filter.mean_[at] + rest * memory.surprise[at] - above * memory.coefficients[at];
    }
    for (std::int64_t n = 0; n < all; n += 4)
      add_dot_products(filter.directions_.data() + n * directions, gains, directions, expected + n);
    make_frames(expected, memory.filtered.data());
    for (std::size_t i = 0; i < memory.filtered.size(); ++i) memory.filtered[i] += above * values[i];
  }

  // The variances of white noise and of drift, and the mean of both in a coefficient, in units of the box:
  // their expectation given `surprise`.
  std::array<double, 3> tell(double level) {
    const std::int64_t coordinates = 2 * filter.num_joints_;
    for (std::int64_t k = 0; k < kFrequencies; ++k) {
      const float* const surprise = memory.surprise.data() + k * width();
      const float* row = filter.joint_directions_.data() + k * coordinates * width();
      float* const squares = memory.along.data() + k * width();
      multiply({surprise, coordinates, 1}, 1, coordinates, row, width(), squares);
      for (std::int64_t c = 0; c < width(); ++c) squares[c] *= squares[c];
    }
    std::array<std::array<double, 3>, kNoises> values;
    memory.fits.resize(kNoises * kAmplitudes.size());
    double best = -std::numeric_limits<double>::infinity();
    for (std::size_t i = 0; i < kNoises; ++i) {
      const double share = i == 0 ? 0.0 : kDriftShares[(i - 1) / kPersistences.size()];
      const std::size_t which = i == 0 ? 0 : (i - 1) % kPersistences.size();
      const double drift = share * level / drift_seen(kPersistences[which]);
      const double white = (1.0 - share) * level;
      std::array<float, kFrequencies> noise;
      double sum = 0.0;
      for (std::size_t k = 0; k < kFrequencies; ++k) {
        const double in_coefficient =
            white * memory.seen[k] + drift * memory.seen[(1 + which) * kFrequencies + k];
        noise[k] = static_cast<float>(in_coefficient);
        sum += in_coefficient;
      }
      values[i] = {white, drift, sum / kFrequencies};
      for (std::size_t a = 0; a < kAmplitudes.size(); ++a) {
        const double width_of = std::log(kAmplitudes[a]);
        const double prior =
            (i == 0 ? std::log(static_cast<double>(kPersistences.size())) : 0.0) - width_of * width_of / 2.0;
        const double fit = prior - misfit(static_cast<float>(kAmplitudes[a]), noise) / 2.0;
        memory.fits[i * kAmplitudes.size() + a] = fit;
        best = std::max(best, fit);
      }
    }
    double total = 0.0;
    std::array<double, 3> mean{};
    for (std::size_t i = 0; i < memory.fits.size(); ++i) {
      const double weight = std::exp(memory.fits[i] - best);
      total += weight;
      for (std::size_t j = 0; j < 3; ++j) mean[j] += weight * values[i / kAmplitudes.size()][j];
    }
    for (double& value : mean) value /= total;
    return mean;
  }

  // Σ log(v) + e² / v over all coefficients, of expected variances v = amplitude · prior + noise.
  double misfit(float amplitude, const std::array<float, kFrequencies>& noise) const {
    LogSums logs;
    Floats ratios{};
    for (std::size_t k = 0; k < kFrequencies; ++k) {
      const float* const variances = filter.joint_variances_.data() + static_cast<std::int64_t>(k) * width();
      const float* const squares = memory.along.data() + static_cast<std::int64_t>(k) * width();
      Floats product = Floats{} + 1.0f;
      int factors = 0;
      for (std::int64_t c = 0; c < width(); c += kLanes) {
        Floats variance, square, inside;
        load(variances + c, variance);
        load(squares + c, square);
        load(filter.inside_.data() + c, inside);
        const Floats expected = inside * (amplitude * variance + noise[k]) + (1.0f - inside);
        ratios += square / expected;
        product *= expected;
        if (++factors == 4) {  // of at least 1e-9 / 2: a fifth might leave the normal numbers
          logs.add(product);
          product = Floats{} + 1.0f;
          factors = 0;
        }
      }
      if (factors > 0) logs.add(product);
    }
    return logs.total() + lanes_sum(ratios);
  }
};

MotionFilter::MotionFilter(const MotionPriorView& prior, bool tells_drift)
    : tells_drift_(tells_drift),
      clip_len_(prior.clip_len),
      num_joints_(prior.num_joints),
      width_(whole_vectors(2 * prior.num_joints)),
      num_directions_(whole_vectors(prior.num_directions)),
      rest_(prior.left_out[0]),
      above_(prior.left_out[1]),
      mean_(static_cast<std::size_t>(kFrequencies * width_)),
      directions_(static_cast<std::size_t>(kFrequencies * width_ * num_directions_)),
      variances_(static_cast<std::size_t>(num_directions_), 1.0f),
      joint_variances_(static_cast<std::size_t>(kFrequencies * width_)),
      joint_directions_(static_cast<std::size_t>(kFrequencies * 2 * num_joints_ * width_)),
      learned_(prior.learned, prior.learned + num_joints_),
      cosines_(prior.cosines, prior.cosines + kFrequencies * clip_len_),
      inside_(static_cast<std::size_t>(width_)) {
  const std::int64_t coordinates = 2 * num_joints_;
  std::copy_n(prior.variances, prior.num_directions, variances_.data());
  std::fill_n(inside_.data(), coordinates, 1.0f);
  for (std::int64_t c = 0; c < coordinates; ++c) {
    for (std::int64_t k = 0; k < kFrequencies; ++k) {
      const std::int64_t from = c * kFrequencies + k, to = k * width_ + c;
      mean_[static_cast<std::size_t>(to)] = prior.mean[from];
      std::copy_n(prior.directions + from * prior.num_directions, prior.num_directions,
                  directions_.data() + to * num_directions_);
    }
  }
  for (std::int64_t k = 0; k < kFrequencies; ++k) {
    std::copy_n(prior.joint_variances + k * coordinates, coordinates, joint_variances_.data() + k * width_);
    for (std::int64_t j = 0; j < coordinates; ++j)
      std::copy_n(prior.joint_directions + (k * coordinates + j) * coordinates, coordinates,
                  joint_directions_.data() + (k * coordinates + j) * width_);
  }
}

ToldNoise MotionFilter::filter(const Track& track, FilterMemory& memory) const {
  TrackFilter body{*this, track, memory};
  run_on_best_target<Avx2Target>(body);
  return body.told;
}

}  // namespace fastpose
