// Any bytes go through the scanner of pickles.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "decode/pickle_scan.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // A copy of exactly this size, so that the sanitizer sees any read beyond it.
  const std::unique_ptr<char[]> pickle(new char[size]);
  std::copy_n(data, size, pickle.get());
  const fastpose::PickleError error = fastpose::scan_pickle(pickle.get(), size);
  const bool is_fine = error.code == fastpose::PickleErrorCode::kNone;
  if (error.message().empty() != is_fine) std::abort();
  if (error.position < 0 || error.position > static_cast<std::int64_t>(size)) std::abort();
  return 0;
}
