#include "cpu/simd/scaling_rows.hpp"

#include "cpu/simd/exp.hpp"
#include "cpu/simd/products.hpp"
#include "cpu/simd/range.hpp"

namespace kantorch::cpu {
namespace KANTORCH_SIMD {
namespace {

typedef Pack<double> P;

constexpr Index group = 8;             // rows whose products share the loads of w and col
constexpr Index longest_chain = 4096;  // columns summed in T before the sum goes on in double

template <int R, class T>
inline void products(const T* k, Index stride, Index m, const T* w, double* s) noexcept {
  typedef Pack<T> V;
  for (int r = 0; r < R; ++r) s[r] = 0;
  for (Index j0 = 0; j0 < m; j0 += longest_chain) {
    const Index width = m - j0 < longest_chain ? m - j0 : longest_chain;
    V total[R];
    for (int r = 0; r < R; ++r) total[r] = V::all(0);
    sweep<T>(width, [&](Index j, auto lanes) {
      const V x = load(w + j0 + j, lanes);
      for (int r = 0; r < R; ++r) total[r] = total[r] + load(k + r * stride + j0 + j, lanes) * x;
    });
    for (int r = 0; r < R; ++r) s[r] += static_cast<double>(sum(total[r]));
  }
}

template <int R, class T>
inline void row_group(const T* k, Index stride, Index m, const T* w, const double* a, double omega,
                      double* u, T* col, Range* range) noexcept {
  double sums[group], weights[group], scalings[group];
  for (Index r = 0; r < group; ++r) {
    sums[r] = 1;
    weights[r] = r < R ? a[r] : 0;
    scalings[r] = r < R ? u[r] : 1;
  }
  products<R>(k, stride, m, w, sums);
  T x[group];
  for (Index r = 0; r < group; r += P::size) {
    const P scaling = P::load(scalings + r), weight = P::load(weights + r);
    const P ratio = scaling * P::load(sums + r);
    const P next = updated(scaling, ratio, omega);
    range->take(weight, ratio, next);
    next.store(scalings + r);
    narrow(x + r, weight * next, AllLanes<double>{});
  }
  for (Index r = 0; r < R; ++r) u[r] = scalings[r];
  add_multiples<R>(k, stride, m, x, col);
}

template <class T>
void rows(const T* k, Index stride, Index count, Index m, const T* w, const double* a, double omega,
          double* u, T* col, ScalingRange* range) noexcept {
  Range found;
  Index i = 0;
  for (; i + group <= count; i += group)
    row_group<group>(k + i * stride, stride, m, w, a + i, omega, u + i, col, &found);
  for (; i < count; ++i)
    row_group<1>(k + i * stride, stride, m, w, a + i, omega, u + i, col, &found);
  found.merge_into(range);
}

template <class T>
void fold(T* col, Index m, bool first, double* total) noexcept {
  sweep<double>(m, [&](Index j, auto lanes) {
    const P x = widen(col + j, lanes);
    store(total + j, first ? x : load(total + j, lanes) + x, lanes);
    narrow(col + j, P::all(0), lanes);
  });
}

template <class T>
void columns(const double* parts, Index count, Index stride, Index m, const double* b, double omega,
             const double* v, double* v_next, T* w, ScalingRange* range) noexcept {
  Range found;
  sweep<double>(m, [&](Index j, auto lanes) {
    P c = load(parts + j, lanes, 1.0);
    for (Index s = 1; s < count; ++s) c = c + load(parts + s * stride + j, lanes);
    const P scaling = load(v + j, lanes, 1.0), weight = load(b + j, lanes);
    const P ratio = scaling * c;
    const P next = updated(scaling, ratio, omega);
    found.take(weight, ratio, next);
    store(v_next + j, next, lanes);
    narrow(w + j, weight * next, lanes);
  });
  found.merge_into(range);
}

template <class T>
constexpr ScalingRows<T> rows_for() noexcept {
  return {rows<T>, fold<T>, columns<T>};
}

}  // namespace

extern const ScalingTable scaling_table;
const ScalingTable scaling_table = {rows_for<float>(), rows_for<double>()};

}  // namespace KANTORCH_SIMD
}  // namespace kantorch::cpu
