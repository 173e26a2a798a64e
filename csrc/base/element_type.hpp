// Dtypes of the arrays that operators read and write.
#pragma once

namespace fastpose {

enum class ElementType { kFloat32, kFloat16, kBFloat16 };

}  // namespace fastpose
