// Copies of cache-resident blocks to memory that may be far from the caches.
#pragma once

#include <cstddef>

namespace fastpose {

using BlockCopy = void (*)(std::byte* target, const std::byte* source, std::size_t bytes);

// The widest copy that this CPU has. A streaming copy goes round the caches; call finish_streaming() after
// the last one, before another thread may read.
BlockCopy cached_copy();
BlockCopy streaming_copy();
void finish_streaming();

}  // namespace fastpose
