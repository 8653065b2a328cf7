#include "cpu/simd/log_rows.hpp"

#include "cpu/simd/distance_rows.hpp"
#include "cpu/simd/exp.hpp"
#include "cpu/simd/products.hpp"
#include "cpu/simd/range.hpp"

namespace kantorch::cpu {
namespace KANTORCH_SIMD {
namespace {

inline Pack<float> power(Pack<float> x) noexcept { return exp2(x); }
inline Pack<double> power(Pack<double> x) noexcept { return exp(x); }

constexpr Index longest_chain = 4096;  // columns summed in T before the sum goes on in double

template <int R, class T>
inline void row_group(T* c, Index m, const T* g, const T* w, T rate, const double* f,
                      const double* a, double omega, double* u, T* col, Range* range) noexcept {
  typedef Pack<T> V;
  typedef Pack<double> P;
  constexpr Index held = R < P::size ? P::size : R;
  double sums[held], weights[held];
  V offset[R];
  for (Index r = 0; r < held; ++r) {
    sums[r] = r < R ? 0 : 1;
    weights[r] = r < R ? a[r] : 0;
  }
  for (int r = 0; r < R; ++r) offset[r] = V::all(static_cast<T>(f[r]));
  const V rates = V::all(rate);
  for (Index j0 = 0; j0 < m; j0 += longest_chain) {
    const Index width = m - j0 < longest_chain ? m - j0 : longest_chain;
    V total[R];
    for (int r = 0; r < R; ++r) total[r] = V::all(0);
    sweep<T>(width, [&](Index j, auto lanes) {
      j += j0;
      const V gs = load(g + j, lanes), ws = load(w + j, lanes);
      for (int r = 0; r < R; ++r) {
        const V e = power((offset[r] + gs) - rates * load(c + r * m + j, lanes));
        store(c + r * m + j, e, lanes);
        total[r] = total[r] + ws * e;
      }
    });
    for (int r = 0; r < R; ++r) sums[r] += static_cast<double>(sum(total[r]));
  }
  T x[held];
  for (Index r = 0; r < held; r += P::size) {
    const P weight = P::load(weights + r), ratio = P::load(sums + r);
    const P scaling = updated(P::all(1), ratio, omega);
    range->take(weight, ratio, scaling);
    scaling.store(sums + r);
    narrow(x + r, weight * scaling, AllLanes<double>{});
  }
  for (Index r = 0; r < R; ++r) u[r] = sums[r];
  add_multiples<R>(c, m, m, x, col);
}

template <class T>
void rows(T* c, Index count, Index m, const T* g, const T* w, T rate, const double* f,
          const double* a, double omega, double* u, T* col, ScalingRange* range) noexcept {
  Range found;
  if (count == distance_group) {
    row_group<distance_group>(c, m, g, w, rate, f, a, omega, u, col, &found);
  } else {
    for (Index r = 0; r < count; ++r)
      row_group<1>(c + r * m, m, g, w, rate, f + r, a + r, omega, u + r, col, &found);
  }
  found.merge_into(range);
}

template <class T>
constexpr LogRows<T> rows_for() noexcept {
  return {rows<T>};
}

}  // namespace

extern const LogTable log_table;
const LogTable log_table = {rows_for<float>(), rows_for<double>()};

}  // namespace KANTORCH_SIMD
}  // namespace kantorch::cpu
