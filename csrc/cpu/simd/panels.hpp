// Tiles of rows by columns of y's panels whose sums stay in registers, and are enough to hide the
// latency of an addition.
#pragma once

#include <type_traits>

#include "core/view.hpp"
#include "cpu/simd/pack.hpp"

namespace kantorch::cpu {
namespace KANTORCH_SIMD {

template <class T>
constexpr int tile_packs = 2 * Pack<T>::size <= panel ? 2 : 1;
template <class T>
constexpr int tile_rows = 8 / tile_packs<T>;

// Calls body(first column, its place in y, row, rows) for tiles over the columns [begin, end) and
// `count` rows, where `rows` is known when compiling.
template <class T, class Body>
inline void for_tiles(const T* y, Index dims, Index begin, Index end, Index count,
                      Body&& body) noexcept {
  for (Index j = begin; j < end; j += tile_packs<T> * Pack<T>::size) {
    const T* side = y + j / panel * (panel * dims) + j % panel;
    Index r = 0;
    for (; r + tile_rows<T> <= count; r += tile_rows<T>)
      body(j, side, r, std::integral_constant<int, tile_rows<T>>{});
    for (; r < count; ++r) body(j, side, r, std::integral_constant<int, 1>{});
  }
}

}  // namespace KANTORCH_SIMD
}  // namespace kantorch::cpu
