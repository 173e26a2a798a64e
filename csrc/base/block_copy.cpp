#include "base/block_copy.hpp"

#include <cstdint>
#include <cstring>

#include "base/instructions.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace fastpose {
namespace {

void plain_copy(std::byte* target, const std::byte* source, std::size_t bytes) {
  std::memcpy(target, source, bytes);
}

#if defined(__x86_64__)

// Bytes before the first address that vector stores of `width` bytes can take.
std::size_t misaligned_head(const std::byte* target, std::size_t width, std::size_t bytes) {
  const std::size_t head = -reinterpret_cast<std::uintptr_t>(target) & (width - 1);
  return head < bytes ? head : bytes;
}

void stream_sse2(std::byte* target, const std::byte* source, std::size_t bytes) {
  std::size_t i = misaligned_head(target, 16, bytes);
  std::memcpy(target, source, i);
  for (; i + 16 <= bytes; i += 16) {
    _mm_stream_si128(reinterpret_cast<__m128i*>(target + i),
                     _mm_loadu_si128(reinterpret_cast<const __m128i*>(source + i)));
  }
  std::memcpy(target + i, source + i, bytes - i);
}

__attribute__((target("avx2"))) void stream_avx2(std::byte* target, const std::byte* source,
                                                 std::size_t bytes) {
  std::size_t i = misaligned_head(target, 32, bytes);
  std::memcpy(target, source, i);
  for (; i + 64 <= bytes; i += 64) {
    const __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(source + i));
    const __m256i high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(source + i + 32));
    _mm256_stream_si256(reinterpret_cast<__m256i*>(target + i), low);
    _mm256_stream_si256(reinterpret_cast<__m256i*>(target + i + 32), high);
  }
  std::memcpy(target + i, source + i, bytes - i);
}

__attribute__((target("avx2"))) void copy_avx2(std::byte* target, const std::byte* source,
                                               std::size_t bytes) {
  std::size_t i = 0;
  for (; i + 64 <= bytes; i += 64) {
    const __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(source + i));
    const __m256i high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(source + i + 32));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(target + i), low);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(target + i + 32), high);
  }
  std::memcpy(target + i, source + i, bytes - i);
}

#endif

}  // namespace

#if defined(__x86_64__)
BlockCopy cached_copy() {
  return best_instructions() >= Instructions::kAvx2 ? copy_avx2 : plain_copy;
}
BlockCopy streaming_copy() {
  return best_instructions() >= Instructions::kAvx2 ? stream_avx2 : stream_sse2;
}
void finish_streaming() {
  _mm_sfence();
}
#else
BlockCopy cached_copy() {
  return plain_copy;
}
BlockCopy streaming_copy() {
  return plain_copy;
}
void finish_streaming() {}
#endif

}  // namespace fastpose
