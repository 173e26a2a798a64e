// Sums that were taken part by part.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace fastpose {

// Adds up the parts [parts, size] in their order, whoever computed them.
inline std::vector<double> total_parts(const float* sums, std::int64_t parts, std::int64_t size) {
  std::vector<double> totals(static_cast<std::size_t>(size));
  for (std::int64_t part = 0; part < parts; ++part, sums += size) {
    for (std::size_t i = 0; i < totals.size(); ++i) totals[i] += sums[i];
  }
  return totals;
}

}  // namespace fastpose
