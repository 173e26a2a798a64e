#include "attention/attention.hpp"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <type_traits>

#include "base/floats.hpp"
#include "base/guarded.hpp"
#include "base/instructions.hpp"
#include "base/line_vector.hpp"
#include "base/number_formats.hpp"
#include "base/thread_pool.hpp"
#include "base/with_constant.hpp"

namespace fastpose {
namespace {

constexpr int kRows = 4;                // of a tile of a product
constexpr float kMaskedScore = -3e38f;  // its exponential is 0, and 0 times it is 0
constexpr std::int64_t kRangesPerThread = 8;

std::int64_t round_up(std::int64_t count, std::int64_t unit) {
  return (count + unit - 1) / unit * unit;
}

// A matrix in scratch memory: rows apart by `stride`, which is whole blocks, as is the number of rows.
struct Matrix {
  float* values = nullptr;
  std::int64_t stride = 0;

  float* row(std::int64_t i) const { return values + i * stride; }
};

// The left factor of a product, as it is or transposed.
struct Factor {
  const float* values;
  std::int64_t row_step;
  std::int64_t depth_step;
};
Factor as_is(const Matrix& matrix) {
  return {matrix.values, matrix.stride, 1};
}
Factor transposed(const Matrix& matrix) {
  return {matrix.values, 1, matrix.stride};
}

template <int kColumns>
void multiply_tile(const Factor& left, const float* right, std::int64_t right_stride, std::int64_t depth,
                   float* result, std::int64_t result_stride) {
  Floats sums[kRows][kColumns] = {};
  for (std::int64_t k = 0; k < depth; ++k) {
    Floats columns[kColumns];
    for (int n = 0; n < kColumns; ++n) load(right + k * right_stride + n * kLanes, columns[n]);
    for (int m = 0; m < kRows; ++m) {
      const float factor = left.values[m * left.row_step + k * left.depth_step];
      for (int n = 0; n < kColumns; ++n) sums[m][n] += factor * columns[n];
    }
  }
  for (int m = 0; m < kRows; ++m) {
    for (int n = 0; n < kColumns; ++n) store(sums[m][n], result + m * result_stride + n * kLanes);
  }
}

// result = left · right, for `rows` rows or a few more, and all columns of `right`.
template <int kMostColumns>
void multiply(const Factor& left, const Matrix& right, std::int64_t rows, std::int64_t depth,
              const Matrix& result) {
  const auto blocks = static_cast<int>(right.stride / kLanes);
  for (int block = 0; block < blocks; block += kMostColumns) {
    with_constant<kMostColumns>(std::min(kMostColumns, blocks - block), [&](auto columns) {
      for (std::int64_t m = 0; m < rows; m += kRows) {
        const Factor part{left.values + m * left.row_step, left.row_step, left.depth_step};
        multiply_tile<columns()>(part, right.values + block * kLanes, right.stride, depth,
                                 result.row(m) + block * kLanes, result.stride);
      }
    });
  }
}

void transpose_block(const float* source, std::int64_t source_stride, float* target,
                     std::int64_t target_stride) {
  Floats rows[kLanes], pairs[kLanes], quads[kLanes];
  for (int i = 0; i < kLanes; ++i) load(source + i * source_stride, rows[i]);
  for (int i = 0; i < kLanes; i += 2) {
    pick<0, 8, 1, 9, 4, 12, 5, 13>(rows[i], rows[i + 1], pairs[i]);
    pick<2, 10, 3, 11, 6, 14, 7, 15>(rows[i], rows[i + 1], pairs[i + 1]);
  }
  for (int i = 0; i < kLanes; i += 4) {
    for (int j = 0; j < 2; ++j) {
      pick<0, 1, 8, 9, 4, 5, 12, 13>(pairs[i + j], pairs[i + j + 2], quads[i + 2 * j]);
      pick<2, 3, 10, 11, 6, 7, 14, 15>(pairs[i + j], pairs[i + j + 2], quads[i + 2 * j + 1]);
    }
  }
  for (int i = 0; i < kLanes / 2; ++i) {
    pick<0, 1, 2, 3, 8, 9, 10, 11>(quads[i], quads[i + 4], rows[i]);
    pick<4, 5, 6, 7, 12, 13, 14, 15>(quads[i], quads[i + 4], rows[i + 4]);
  }
  for (int i = 0; i < kLanes; ++i) store(rows[i], target + i * target_stride);
}

void transpose(const Matrix& source, const Matrix& target) {
  for (std::int64_t i = 0; i < target.stride; i += kLanes) {
    for (std::int64_t c = 0; c < source.stride; c += kLanes) {
      transpose_block(source.row(i) + c, source.stride, target.row(c) + i, target.stride);
    }
  }
}

inline float sum_lanes(const Floats& lanes) {
  float sum = 0;
  for (int i = 0; i < kLanes; ++i) sum += lanes[i];
  return sum;
}

// Scores become weights; those past `length` become 0. A NaN makes its row NaN.
void softmax(float* row, std::int64_t length, std::int64_t stride) {
  for (std::int64_t j = length; j < stride; ++j) row[j] = kMaskedScore;
  Floats most, block;
  load(row, most);
  for (std::int64_t j = kLanes; j < stride; j += kLanes) {
    load(row + j, block);
    raise_to(block, most);
  }
  float top = most[0];
  for (int i = 1; i < kLanes; ++i) top = std::max(top, most[i]);
  Floats total = {};
  for (std::int64_t j = 0; j < stride; j += kLanes) {
    load(row + j, block);
    total += 0.0f * block;
    block -= top;
    exponentiate_negative(block);
    total += block;
    store(block, row + j);
  }
  const float share = 1 / sum_lanes(total);
  for (std::int64_t j = 0; j < stride; j += kLanes) {
    load(row + j, block);
    store(block * share, row + j);
  }
}

// The gradient of weights becomes that of scores.
void softmax_backward(const float* weights, float* gradient, std::int64_t stride) {
  Floats weight, change, dot = {};
  for (std::int64_t j = 0; j < stride; j += kLanes) {
    load(weights + j, weight);
    load(gradient + j, change);
    dot += weight * change;
  }
  const float mean = sum_lanes(dot);
  for (std::int64_t j = 0; j < stride; j += kLanes) {
    load(weights + j, weight);
    load(gradient + j, change);
    store(weight * (change - mean), gradient + j);
  }
}

// Works on one head of one sequence at a time, in scratch memory that stays zero where it is padding.
template <class Element, class Target>
class HeadAttention {
 public:
  HeadAttention(const Attention& attention, bool backward)
      : attention_(attention),
        length_(attention.length),
        padded_length_(round_up(length_, kLanes)),
        padded_dim_(round_up(attention.dim, kLanes)),
        scale_(1 / std::sqrt(static_cast<float>(attention.dim))) {
    const std::int64_t vectors = padded_length_ * padded_dim_;
    const std::int64_t square = padded_length_ * padded_length_;
    const std::int64_t count = backward ? 7 * vectors + 2 * square : 5 * vectors + square;
    scratch_.resize(static_cast<std::size_t>(count));
    float* next = scratch_.data();
    const auto take = [&](std::int64_t rows, std::int64_t stride) {
      const Matrix matrix{next, stride};
      next += rows * stride;
      return matrix;
    };
    queries_ = take(padded_length_, padded_dim_);
    keys_ = take(padded_length_, padded_dim_);
    values_ = take(padded_length_, padded_dim_);
    result_ = take(padded_length_, padded_dim_);
    keys_by_channel_ = take(padded_dim_, padded_length_);
    weights_ = take(padded_length_, padded_length_);
    if (!backward) return;
    gradient_ = take(padded_length_, padded_dim_);
    values_by_channel_ = take(padded_dim_, padded_length_);
    score_gradient_ = take(padded_length_, padded_length_);
  }

  void forward(const Element* qkv, Element* output, std::int64_t unit) {
    const Place place = place_of(unit);
    read(qkv + part(place, 0), 3 * channels(), scale_, queries_);
    read(qkv + part(place, 1), 3 * channels(), 1, keys_);
    read(qkv + part(place, 2), 3 * channels(), 1, values_);
    weigh();
    multiply<kMostColumns>(as_is(weights_), values_, length_, length_, result_);
    write(result_, 1, output + place.token * channels() + place.channel, channels());
  }

  void backward(const Element* qkv, const Element* output_gradient, Element* qkv_gradient,
                std::int64_t unit) {
    const Place place = place_of(unit);
    read(qkv + part(place, 0), 3 * channels(), scale_, queries_);
    read(qkv + part(place, 1), 3 * channels(), 1, keys_);
    read(qkv + part(place, 2), 3 * channels(), 1, values_);
    transpose(values_, values_by_channel_);
    read(output_gradient + place.token * channels() + place.channel, channels(), 1, gradient_);
    weigh();
    multiply<kMostColumns>(transposed(weights_), gradient_, length_, length_, result_);
    write(result_, 1, qkv_gradient + part(place, 2), 3 * channels());
    multiply<kMostColumns>(as_is(gradient_), values_by_channel_, length_, attention_.dim, score_gradient_);
    for (std::int64_t i = 0; i < length_; ++i) {
      softmax_backward(weights_.row(i), score_gradient_.row(i), padded_length_);
    }
    multiply<kMostColumns>(as_is(score_gradient_), keys_, length_, length_, result_);
    write(result_, scale_, qkv_gradient + part(place, 0), 3 * channels());
    multiply<kMostColumns>(transposed(score_gradient_), queries_, length_, length_, result_);
    write(result_, 1, qkv_gradient + part(place, 1), 3 * channels());
  }

 private:
  static constexpr std::int64_t kTokensAhead = 4;
  static constexpr std::int64_t kLineElements = 64 / sizeof(Element);
  static constexpr int kMostColumns = Target::kVectorRegisters >= 32 ? 4 : 2;

  struct Place {
    std::int64_t token;    // the first of the sequence
    std::int64_t channel;  // the first of the head
  };

  std::int64_t channels() const { return attention_.heads * attention_.dim; }

  Place place_of(std::int64_t unit) const {
    const std::int64_t sequence = unit / attention_.heads;
    const std::int64_t outer = sequence / attention_.inner;
    return {outer * length_ * attention_.inner + sequence % attention_.inner,
            unit % attention_.heads * attention_.dim};
  }

  // Where queries (0), keys (1) or values (2) begin in qkv.
  std::int64_t part(const Place& place, std::int64_t which) const {
    return (place.token * 3 + which) * channels() + place.channel;
  }

  void weigh() {
    transpose(keys_, keys_by_channel_);
    multiply<kMostColumns>(as_is(queries_), keys_by_channel_, length_, attention_.dim, weights_);
    for (std::int64_t i = 0; i < length_; ++i) softmax(weights_.row(i), length_, padded_length_);
  }

  // Tokens of a sequence can lie far apart, where no processor expects the next: those are fetched ahead.
  void read(const Element* source, std::int64_t token_stride, float factor, const Matrix& target) {
    const std::int64_t step = token_stride * attention_.inner;
    for (std::int64_t i = 0; i < length_; ++i, source += step) {
      if (i + kTokensAhead < length_) {
        for (std::int64_t c = 0; c < attention_.dim; c += kLineElements) {
          __builtin_prefetch(source + kTokensAhead * step + c);
        }
      }
      float* row = target.row(i);
      if (copies(factor)) {
        std::memcpy(row, source, row_bytes());
        continue;
      }
      std::int64_t c = 0;
      for (; c + kLanes <= attention_.dim; c += kLanes) {
        Floats values;
        fastpose::read<Target>(source + c, values);
        store(values * factor, row + c);
      }
      for (; c < attention_.dim; ++c) row[c] = factor * widen(source[c]);
    }
  }

  void write(const Matrix& source, float factor, Element* target, std::int64_t token_stride) {
    for (std::int64_t i = 0; i < length_; ++i, target += token_stride * attention_.inner) {
      const float* row = source.row(i);
      if (copies(factor)) {
        std::memcpy(target, row, row_bytes());
        continue;
      }
      Floats values;
      Block<Element> block;
      std::int64_t c = 0;
      for (; c + kLanes <= attention_.dim; c += kLanes) {
        load(row + c, values);
        encode<Element>(values * factor, block);
        store(block, target + c);
      }
      if (c == attention_.dim) continue;
      load(row + c, values);
      encode<Element>(values * factor, block);
      std::memcpy(target + c, &block, static_cast<std::size_t>(attention_.dim - c) * sizeof(Element));
    }
  }

  // The library's copy has more cache lines under way than a loop of vectors.
  static bool copies(float factor) { return std::is_same_v<Element, float> && factor == 1; }
  std::size_t row_bytes() const { return static_cast<std::size_t>(attention_.dim) * sizeof(Element); }

  const Attention& attention_;
  std::int64_t length_, padded_length_, padded_dim_;
  float scale_;
  LineVector<float> scratch_;
  Matrix queries_, keys_, values_, result_, gradient_;  // [length, dim]
  Matrix keys_by_channel_, values_by_channel_;          // [dim, length]
  Matrix weights_, score_gradient_;                     // [length, length]
};

template <class Element>
struct Range {
  const Attention& attention;
  const Element* qkv;
  const Element* output_gradient;  // null: forward
  Element* result;
  std::int64_t begin, end;

  template <class Target>
  void run() {
    HeadAttention<Element, Target> head(attention, output_gradient != nullptr);
    for (std::int64_t unit = begin; unit < end; ++unit) {
      if (output_gradient != nullptr) {
        head.backward(qkv, output_gradient, result, unit);
      } else {
        head.forward(qkv, result, unit);
      }
    }
  }
};

template <class Element>
void run(const Attention& attention, const void* qkv, const void* output_gradient, void* result) {
  const std::int64_t units = attention.outer * attention.inner * attention.heads;
  const std::int64_t threads = attention.threads > 0 ? attention.threads : hardware_threads();
  guarded_loop(parallel_for, units, attention.threads, units / (threads * kRangesPerThread),
               [&](std::int64_t begin, std::int64_t end) {
                 Range<Element> range{attention,
                                      static_cast<const Element*>(qkv),
                                      static_cast<const Element*>(output_gradient),
                                      static_cast<Element*>(result),
                                      begin,
                                      end};
                 run_on_best_target(range);
               });
}

bool dispatch(const Attention& attention, const void* qkv, const void* output_gradient,
              void* result) noexcept {
  assert(attention.element != ElementType::kFloat16);
  assert(attention.length > 0 && attention.dim > 0);
  return guarded([&] {
    attention.element == ElementType::kFloat32 ? run<float>(attention, qkv, output_gradient, result)
                                               : run<BFloat16>(attention, qkv, output_gradient, result);
  });
}

}  // namespace

bool attend(const Attention& attention, const void* qkv, void* output) noexcept {
  return dispatch(attention, qkv, nullptr, output);
}

bool attend_backward(const Attention& attention, const void* qkv, const void* output_gradient,
                     void* qkv_gradient) noexcept {
  assert(output_gradient != nullptr);
  return dispatch(attention, qkv, output_gradient, qkv_gradient);
}

}  // namespace fastpose
