// Arrays that vectors of 64 bytes load from without crossing cache lines.
#pragma once

#include <cstddef>
#include <new>
#include <vector>

namespace fastpose {

template <class Value>
struct LineAllocator {
  using value_type = Value;

  LineAllocator() = default;
  template <class Other>
  LineAllocator(const LineAllocator<Other>&) {}

  Value* allocate(std::size_t count) {
    return static_cast<Value*>(::operator new(count * sizeof(Value), std::align_val_t{64}));
  }
  void deallocate(Value* values, std::size_t) { ::operator delete(values, std::align_val_t{64}); }
  template <class Other>
  bool operator==(const LineAllocator<Other>&) const {
    return true;
  }
};
template <class Value>
using LineVector = std::vector<Value, LineAllocator<Value>>;

}  // namespace fastpose
