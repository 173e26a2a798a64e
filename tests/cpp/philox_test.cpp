// Philox against the published vectors (Random123, kat_vectors); normals against double precision,
// exhaustively.
#include "sample/philox.hpp"

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <numbers>
#include <vector>

#include "sample/normals.hpp"

namespace {

using namespace fastpose;

int failures = 0;

void expect(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "failed: %s\n", what);
  ++failures;
}

static_assert(philox4x32_10({0, 0, 0, 0}, {0, 0}) ==
              PhiloxBlock{0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8});
static_assert(philox4x32_10({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}) ==
              PhiloxBlock{0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD});
static_assert(philox4x32_10({0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344}, {0xA4093822, 0x299F31D0}) ==
              PhiloxBlock{0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1});

void test_layout_of_counter_and_key() {
  const ClipRandom random(0x1111111122222222, 0x3333333344444444, 5, 6);
  const PhiloxBlock expected =
      philox4x32_10({0x44444444, 0x33333333, 5, 0x62000007}, {0x22222222, 0x11111111});
  expect(random.block(Purpose::kCropAndFlip, 7) == expected,
         "counter = (hash lo, hi, epoch, stream|purpose|block)");
  RandomWords words(random, Purpose::kFrames);
  for (std::uint32_t i = 0; i < 9; ++i)
    expect(words.next() == random.block(Purpose::kFrames, i / 4)[i % 4],
           "word i is word i % 4 of block i / 4");
}

void test_integers_and_uniforms() {
  expect(below(0, 7) == 0 && below(~0u, 7) == 6, "below covers its range");
  expect(below(~0u, ~0u) == ~0u - 1, "below of the largest n");
  expect(uniform(0) == 0.0f && uniform(~0u) == 1.0f - 0x1p-24f, "uniform is in [0, 1)");
}

// All 2^24 radii, each with a few angles; all 2^24 angles at the largest radius.
void test_box_muller_accuracy() {
  constexpr std::uint32_t kChunk = 1 << 12;
  std::vector<std::uint32_t> all(kChunk), other(kChunk);
  std::vector<float> dx(kChunk), dy(kChunk);
  double worst = 0.0;
  const auto check = [&](const std::vector<std::uint32_t>& radius, const std::vector<std::uint32_t>& angle) {
    box_muller(radius.data(), angle.data(), kChunk, dx.data(), dy.data());
    for (std::uint32_t i = 0; i < kChunk; ++i) {
      const double r = std::sqrt(-2.0 * std::log(((radius[i] >> 8) + 1) * 0x1p-24));
      const double theta = 2.0 * std::numbers::pi * (angle[i] >> 8) * 0x1p-24;
      worst = std::fmax(worst, std::abs(dx[i] - r * std::cos(theta)));
      worst = std::fmax(worst, std::abs(dy[i] - r * std::sin(theta)));
    }
  };
  for (std::uint32_t first = 0; first < (1u << 24); first += kChunk) {
    for (std::uint32_t i = 0; i < kChunk; ++i) {
      all[i] = (first + i) << 8;
      other[i] = (first + i) * 2654435761u;
    }
    check(all, other);
    other.assign(kChunk, 0);
    check(other, all);
  }
  std::printf("largest error of a normal: %.3g\n", worst);
  expect(worst < 8e-7, "normals are within 6e-7");
}

// A ninth of the 2^24 words, the first and the last among them; the error of Student's t is relative.
void test_accuracy_of_other_distributions() {
  constexpr std::uint32_t kChunk = 1 << 12;
  std::vector<std::uint32_t> all(kChunk), none(kChunk);
  std::vector<float> dx(kChunk), dy(kChunk);
  double laplace = 0.0, uniform = 0.0, student = 0.0;
  for (std::uint32_t first = 0; first < (1u << 24); first += 9 * kChunk) {
    for (std::uint32_t i = 0; i < kChunk; ++i) all[i] = (first + i) << 8;
    laplace_pairs(all.data(), all.data(), kChunk, dx.data(), dy.data());
    for (std::uint32_t i = 0; i < kChunk; ++i) {
      const std::uint32_t word = first + i;
      const double size = -std::log(((word & 0x7FFFFF) + 1) * 0x1p-23) / std::numbers::sqrt2;
      laplace = std::fmax(laplace, std::abs(dx[i] - (word >> 23 ? -size : size)));
      expect(dx[i] == dy[i], "both words of a Laplace pair are read alike");
    }
    uniform_pairs(all.data(), all.data(), kChunk, dx.data(), dy.data());
    for (std::uint32_t i = 0; i < kChunk; ++i) {
      const double exact = std::numbers::sqrt3 * ((first + i + 0.5) * 0x1p-23 - 1);
      uniform = std::fmax(uniform, std::abs(dx[i] - exact));
      expect(dx[i] == dy[i], "both words of a uniform pair are read alike");
    }
    student_pairs(all.data(), none.data(), kChunk, dx.data(), dy.data());
    for (std::uint32_t i = 0; i < kChunk; ++i) {
      const double exact = std::sqrt(std::expm1(-2.0 / 3.0 * std::log((first + i + 1) * 0x1p-24)));
      student = std::fmax(student, std::abs(dx[i] - exact) / std::fmax(exact, 1e-30));
      expect(dy[i] == 0.0f, "the second number of Student's pair is that of the angle's sine");
    }
  }
  std::printf("largest errors: Laplace %.3g, uniform %.3g, Student's t %.3g of it\n", laplace, uniform,
              student);
  expect(laplace < 1e-6 && uniform < 2e-7 && student < 1e-6, "other distributions are as exact");
}

void test_normals_depend_on_the_frame_and_the_element_alone() {
  const ClipRandom random(1, ~std::uint64_t{0} - 3, 3, 4);  // to whose hash frames carry
  std::vector<std::int32_t> frames(100);
  for (std::int32_t t = 0; t < 100; ++t) frames[static_cast<std::size_t>(t)] = t * t % 31;
  for (const std::int64_t elements : {1, 2, 17, 34, 1331}) {
    const std::int64_t row = normals_of_frame(elements);
    std::vector<float> dx, dy, x, y;
    fill_noise(random, box_muller, frames.data(), 100, elements, dx, dy);
    for (std::size_t t = 0; t < 100; t += 7) {
      fill_noise(random, box_muller, &frames[t], 1, elements, x, y);
      for (std::size_t i = 0; i < static_cast<std::size_t>(elements); ++i) {
        const std::size_t at = t * static_cast<std::size_t>(row) + i;
        expect(x[i] == dx[at] && y[i] == dy[at], "normals depend on the frame and the element alone");
      }
    }
    const auto last = static_cast<std::uint32_t>(elements - 1);
    const std::uint64_t hash = ~std::uint64_t{0} - 3 + 18;  // of frame 7 · 7 % 31
    const PhiloxBlock words = philox4x32_10(
        {static_cast<std::uint32_t>(hash), static_cast<std::uint32_t>(hash >> 32), 3, 0x41000000 + last / 2},
        {1, 0});
    box_muller(&words[last % 2 * 2], &words[last % 2 * 2 + 1], 1, x.data(), y.data());
    const std::size_t at = 7 * static_cast<std::size_t>(row) + last;
    expect(x[0] == dx[at] && y[0] == dy[at],
           "an even element takes words 0, 1 of its block, an odd one words 2, 3");
  }
}

}  // namespace

int main() {
  test_layout_of_counter_and_key();
  test_integers_and_uniforms();
  test_box_muller_accuracy();
  test_accuracy_of_other_distributions();
  test_normals_depend_on_the_frame_and_the_element_alone();
  if (failures == 0) std::printf("philox_test: passed\n");
  return failures == 0 ? 0 : 1;
}
