// Running out of memory as a result, for code whose callers cannot take exceptions.
#pragma once

#include <new>

namespace fastpose {

// False where the body says so or runs out of memory.
template <class Body>
bool guarded(const Body& body) {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return false;
  }
}

}  // namespace fastpose
