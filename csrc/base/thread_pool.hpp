// One process-wide pool of worker threads for loops whose iterations are independent.
#pragma once

#include <cstdint>
#include <functional>

namespace fastpose {

// Number of threads the process may run at once (its affinity mask), at least 1.
int hardware_threads();

// Calls body(begin, end) on disjoint ranges that cover [0, count), each at most `grain` long, on up to
// `threads` threads of which the caller is one; threads <= 0 means hardware_threads(). Returns when all
// ranges are done. The body must not throw. Safe to call from several threads at once, from inside a body,
// and in a child process after fork.
void parallel_for(std::int64_t count, int threads, std::int64_t grain,
                  const std::function<void(std::int64_t, std::int64_t)>& body);

// The same on the process's OpenMP threads where there are any, else on the pool: for work between operators
// of a library that uses OpenMP, whose idle threads keep their cores busy and would compete with the pool's.
void parallel_for_beside_openmp(std::int64_t count, int threads, std::int64_t grain,
                                const std::function<void(std::int64_t, std::int64_t)>& body);

}  // namespace fastpose
