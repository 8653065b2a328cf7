// Sums over rows of exponentials that are stored on the way.
#pragma once

#include "cpu/simd/exp.hpp"
#include "cpu/simd/lanes.hpp"

namespace kantorch::cpu {
namespace KANTORCH_SIMD {

// In float potentials are in factors of 2, whose powers are cheaper.
inline Pack<float> power(Pack<float> x) noexcept { return exp2(x); }
inline Pack<double> power(Pack<double> x) noexcept { return exp(x); }

constexpr Index longest_chain = 4096;  // columns summed in T before the sum goes on in double

// e_ij = B^(f_i + g_j - rate c_ij), without f where it is not `shifted`, and s_i = sum_j w_j e_ij,
// for R rows whose sums stay in registers. e may be c.
template <int R, bool shifted, class T>
inline void sums_of_rows(const T* c, Index stride, Index m, const T* f, const T* g, const T* w,
                         T rate, double* s, T* e, Index row_stride) noexcept {
  typedef Pack<T> V;
  const V rates = V::all(rate);
  V offset[R];
  for (int i = 0; i < R; ++i) {
    offset[i] = V::all(f[i]);
    s[i] = 0;
  }
  for (Index j0 = 0; j0 < m; j0 += longest_chain) {
    const Index width = m - j0 < longest_chain ? m - j0 : longest_chain;
    V total[R];
    for (int i = 0; i < R; ++i) total[i] = V::all(0);
    sweep<T>(width, [&](Index j, auto lanes) {
      j += j0;
      const V gs = load(g + j, lanes), ws = load(w + j, lanes);
      for (int i = 0; i < R; ++i) {
        const V start = shifted ? offset[i] + gs : gs;
        const V x = power(start - rates * load(c + i * stride + j, lanes));
        store(e + i * row_stride + j, x, lanes);
        total[i] = total[i] + ws * x;
      }
    });
    for (int i = 0; i < R; ++i) s[i] += static_cast<double>(sum(total[i]));
  }
}

}  // namespace KANTORCH_SIMD
}  // namespace kantorch::cpu
