#include "cpu/simd/log_rows.hpp"

#include "cpu/simd/exponents.hpp"
#include "cpu/simd/panels.hpp"
#include "cpu/simd/products.hpp"
#include "cpu/simd/range.hpp"

namespace kantorch::cpu {
namespace KANTORCH_SIMD {
namespace {

// The new scalings of a group of rows from their sums, and what the rows add to the columns.
template <class T>
inline void finish(const T* e, Index count, Index m, double* s, const double* a, double omega,
                   double* u, T* col, Range* range) noexcept {
  typedef Pack<double> P;
  const Index stride = padded(m, panel);
  double weights[distance_group];
  T x[distance_group];
  for (Index r = 0; r < distance_group; ++r) {
    weights[r] = r < count ? a[r] : 0;
    if (r >= count) s[r] = 1;
  }
  for (Index r = 0; r < distance_group; r += P::size) {
    const P weight = P::load(weights + r), ratio = P::load(s + r);
    const P scaling = updated(P::all(1), ratio, omega);
    range->take(weight, ratio, scaling);
    scaling.store(s + r);
    narrow(x + r, weight * scaling, AllLanes<double>{});
  }
  for (Index r = 0; r < count; ++r) u[r] = s[r];
  if (count == distance_group) {
    add_multiples<distance_group>(e, stride, m, x, col);
  } else {
    for (Index r = 0; r < count; ++r) add_multiples<1>(e + r * stride, stride, m, x + r, col);
  }
}

template <class T>
void rows(T* c, Index count, Index m, const T* g, const T* w, T rate, const double* f,
          const double* a, double omega, double* u, T* col, ScalingRange* range) noexcept {
  constexpr int R = 4;
  const Index stride = padded(m, panel);
  double s[distance_group];
  T offset[distance_group];
  for (Index r = 0; r < count; ++r) offset[r] = static_cast<T>(f[r]);
  Index r = 0;
  for (; r + R <= count; r += R) {
    sums_of_rows<R, true>(c + r * stride, stride, stride, offset + r, g, w, rate, s + r,
                          c + r * stride, stride);
  }
  for (; r < count; ++r) {
    sums_of_rows<1, true>(c + r * stride, stride, stride, offset + r, g, w, rate, s + r,
                          c + r * stride, stride);
  }
  Range found;
  finish(c, count, m, s, a, omega, u, col, &found);
  found.merge_into(range);
}

template <int R, class T>
inline void tile(const T* x, const T* y, Index dims, const T* g, const T* w, const T* f, T* e,
                 Index stride, Pack<T>* total) noexcept {
  typedef Pack<T> V;
  constexpr int W = tile_packs<T>;
  V exponent[R][W];
  for (int v = 0; v < W; ++v) {
    const V gs = V::load(g + v * V::size);
    for (int r = 0; r < R; ++r) exponent[r][v] = V::all(f[r]) + gs;
  }
  for (Index k = 0; k < dims; ++k) {
    V ys[W];
    for (int v = 0; v < W; ++v) ys[v] = V::load(y + k * panel + v * V::size);
    for (int r = 0; r < R; ++r) {
      const V xs = V::all(x[r * dims + k]);
      for (int v = 0; v < W; ++v) exponent[r][v] = exponent[r][v] + xs * ys[v];
    }
  }
  for (int v = 0; v < W; ++v) {
    const V ws = V::load(w + v * V::size);
    for (int r = 0; r < R; ++r) {
      const V p = power(exponent[r][v]);
      p.store(e + r * stride + v * V::size);
      total[r] = total[r] + ws * p;
    }
  }
}

template <class T>
void product_rows(const T* x, const T* y, Index dims, Index count, Index m, const T* g, const T* w,
                  const T* f, const double* a, double omega, double* u, T* e, T* col,
                  ScalingRange* range) noexcept {
  typedef Pack<T> V;
  const Index stride = padded(m, panel);
  double s[distance_group] = {};
  for (Index j0 = 0; j0 < stride; j0 += longest_chain) {
    const Index end = stride - j0 < longest_chain ? stride : j0 + longest_chain;
    V total[distance_group];
    for (Index r = 0; r < distance_group; ++r) total[r] = V::all(0);
    for_tiles(y, dims, j0, end, count, [&](Index j, const T* side, Index r, auto rows) {
      tile<rows.value>(x + r * dims, side, dims, g + j, w + j, f + r, e + r * stride + j, stride,
                       total + r);
    });
    for (Index r = 0; r < distance_group; ++r) s[r] += static_cast<double>(sum(total[r]));
  }
  Range found;
  finish(e, count, m, s, a, omega, u, col, &found);
  found.merge_into(range);
}

template <class T>
constexpr LogRows<T> rows_for() noexcept {
  return {rows<T>, product_rows<T>};
}

}  // namespace

extern const LogTable log_table;
const LogTable log_table = {rows_for<float>(), rows_for<double>()};

}  // namespace KANTORCH_SIMD
}  // namespace kantorch::cpu
