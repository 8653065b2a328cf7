// Sums of rows times numbers, several rows at a time.
#pragma once

#include "cpu/simd/lanes.hpp"

namespace kantorch::cpu {
namespace KANTORCH_SIMD {

// y_j += sum_r x_r k[r * stride + j], in the order of r.
template <int R, class T>
inline void add_multiples(const T* k, Index stride, Index m, const T* x, T* y) noexcept {
  typedef Pack<T> V;
  V xs[R];
  for (int r = 0; r < R; ++r) xs[r] = V::all(x[r]);
  sweep<T>(m, [&](Index j, auto lanes) {
    V total = load(y + j, lanes);
    for (int r = 0; r < R; ++r) total = total + load(k + r * stride + j, lanes) * xs[r];
    store(y + j, total, lanes);
  });
}

}  // namespace KANTORCH_SIMD
}  // namespace kantorch::cpu
