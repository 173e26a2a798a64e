// Arrays that vectors of 64 bytes load from without crossing cache lines.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

namespace fastpose {

struct AlignedDelete {
  void operator()(float* values) const { ::operator delete(values, std::align_val_t{64}); }
};
using AlignedFloats = std::unique_ptr<float[], AlignedDelete>;

// Zeros; null when out of memory.
inline AlignedFloats allocate_floats(std::int64_t count) {
  const auto bytes = static_cast<std::size_t>(count) * sizeof(float);
  auto* values = static_cast<float*>(::operator new(bytes, std::align_val_t{64}, std::nothrow));
  if (values != nullptr) std::memset(values, 0, bytes);
  return AlignedFloats(values);
}

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
