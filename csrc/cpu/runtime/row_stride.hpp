// How far apart the rows lie of matrices that loops go through several rows at a time.
#pragma once

#include "core/view.hpp"

namespace kantorch::cpu {

// Numbers from one row of m to the next. Rows that are (almost) a multiple of 4 KiB apart would
// share one set of the first-level cache, which has room for 8 or 12 lines.
template <class T>
constexpr Index row_stride(Index m) noexcept {
  constexpr Index size = sizeof(T), line = 64, way = 4096;
  const Index beyond = (m * size + line) % way;
  return m * size > way - line && beyond < 2 * line ? m + 2 * line / size : m;
}

}  // namespace kantorch::cpu
