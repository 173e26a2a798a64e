// Running out of memory: inside the core std::bad_alloc; `false` at its borders and for the bodies of loops,
// which may not throw. Caught here and nowhere else.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <new>

namespace fastpose {

// Runs work(); false where that ran out of memory.
template <class Work>
[[nodiscard]] bool guarded(const Work& work) noexcept {
  try {
    work();
    return true;
  } catch (const std::bad_alloc&) {
    return false;
  }
}

// Passes on that work inside of other work ran out of memory.
inline void require_memory(bool done) {
  if (!done) throw std::bad_alloc();
}

using ParallelLoop = void (*)(std::int64_t count, int threads, std::int64_t grain,
                              const std::function<void(std::int64_t, std::int64_t)>& body);

// Runs parallel_for or parallel_for_beside_openmp with a body that may run out of memory, and passes that on.
template <class Body>
void guarded_loop(ParallelLoop loop, std::int64_t count, int threads, std::int64_t grain, const Body& body) {
  std::atomic<bool> done{true};
  loop(count, threads, grain, [&](std::int64_t begin, std::int64_t end) {
    if (!guarded([&] { body(begin, end); })) done = false;
  });
  require_memory(done);
}

}  // namespace fastpose
