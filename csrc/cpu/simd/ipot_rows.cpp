#include "cpu/simd/ipot_rows.hpp"

#include "cpu/simd/exp.hpp"
#include "cpu/simd/exp2_table.hpp"
#include "cpu/simd/exponents.hpp"
#include "cpu/simd/products.hpp"

namespace kantorch::cpu {
namespace KANTORCH_SIMD {
namespace {

// Where a row sum is in this range, the terms that underflowed are below 2^-66 of it, and those
// that were cut below 2^-58.
constexpr double smallest_sum = 0x1p-60, smallest_quick_sum = 0x1p-28, largest_sum = 0x1p60;
template <class T>
constexpr T largest_cap = sizeof(T) == sizeof(float) ? T(1e30) : T(-1);  // none in double

// As sums_of_rows, for exponents that need no clamping but R <= cap, and h of multiples of
// Exp2Table::step. Then hm = h + magic is exact, z = hm - slope R holds the exponent's leading
// bits, hm - z is exact too, and the remainder costs one more multiplication and addition.
template <int R>
inline void quick_row_sums(const float* r, Index stride, Index m, const float* h, const float* w,
                           float slope, float cap, double* s, float* e) noexcept {
  typedef Pack<float> V;
  const V slopes = V::all(slope), caps = V::all(cap), magic = V::all(Exp2Table::magic);
  const Exp2Table table;
  for (int i = 0; i < R; ++i) s[i] = 0;
  for (Index j0 = 0; j0 < m; j0 += longest_chain) {
    const Index width = m - j0 < longest_chain ? m - j0 : longest_chain;
    V total[R];
    for (int i = 0; i < R; ++i) total[i] = V::all(0);
    sweep<float>(width, [&](Index j, auto lanes) {
      j += j0;
      const V hm = load(h + j, lanes) + magic, ws = load(w + j, lanes);
      for (int i = 0; i < R; ++i) {
        const V cut = min(load(r + i * stride + j, lanes), caps);
        const V z = hm - slopes * cut;
        const V x = table.power(z, (hm - z) - slopes * cut);
        store(e + i * row_stride<float>(m) + j, x, lanes);
        total[i] = total[i] + ws * x;
      }
    });
    for (int i = 0; i < R; ++i) s[i] += static_cast<double>(sum(total[i]));
  }
}

template <int R>
inline void quick_row_sums(const double*, Index, Index, const double*, const double*, double,
                           double, double*, double*) noexcept {}

template <class T>
inline T top_exponent(const T* r, Index m, const T* h, const T* w, T slope) noexcept {
  typedef Pack<T> V;
  const T lowest = sizeof(T) == sizeof(float) ? T(-1e38) : T(-1e300);
  V top = V::all(lowest);
  sweep<T>(m, [&](Index j, auto lanes) {
    const V x = load(h + j, lanes) - V::all(slope) * load(r + j, lanes);
    top = max(where_positive(load(w + j, lanes), x, V::all(lowest)), top);
  });
  return largest(top);
}

template <int R, class T>
inline void row_group(const T* r, Index stride, Index m, const T* h, const T* w, const double* a,
                      T slope, T cap, T* A, double* s, T* e, T* col) noexcept {
  // Float potentials are close to their references, so that rows need no offset of their own.
  constexpr bool shifted = sizeof(T) == sizeof(double);
  if (!shifted) {
    for (int i = 0; i < R; ++i) A[i] = 0;
  }
  const bool quick = cap < largest_cap<T>;
  const double least = quick ? smallest_quick_sum : smallest_sum;
  if (quick) {
    quick_row_sums<R>(r, stride, m, h, w, slope, cap, s, e);
  } else {
    sums_of_rows<R, shifted>(r, stride, m, A, h, w, slope, s, e, row_stride<T>(m));
  }
  T x[R];
  for (int i = 0; i < R; ++i) {
    if (!(s[i] > least && s[i] < largest_sum)) {
      A[i] = -top_exponent(r + i * stride, m, h, w, slope);
      sums_of_rows<1, true>(r + i * stride, stride, m, A + i, h, w, slope, s + i,
                            e + i * row_stride<T>(m), row_stride<T>(m));
    }
    x[i] = static_cast<T>(s[i] > 0 ? a[i] / s[i] : 0);
  }
  add_multiples<R>(e, row_stride<T>(m), m, x, col);
}

template <class T>
void rows(const T* r, Index stride, Index count, Index m, const T* h, const T* w, const double* a,
          T slope, T cap, T* A, double* s, T* e, T* col) noexcept {
  Index i = 0;
  for (; i + ipot_group <= count; i += ipot_group) {
    row_group<ipot_group>(r + i * stride, stride, m, h, w, a + i, slope, cap, A + i, s + i, e, col);
  }
  for (; i < count; ++i)
    row_group<1>(r + i * stride, stride, m, h, w, a + i, slope, cap, A + i, s + i, e, col);
}

// out_i = from_i - unit log x_i; the largest |out_i|. An x beyond the normal numbers counts as one
// close to them.
template <class T>
double subtract_log(const T* from, const double* x, double unit, Index size, double* out) noexcept {
  typedef Pack<double> P;
  P top = P::all(0);
  sweep<double>(size, [&](Index i, auto lanes) {
    const P y = widen(from + i, lanes) - P::all(unit) * log(load(x + i, lanes, 1.0));
    store(out + i, y, lanes);
    top = max(max(y, P::all(0) - y), top);
  });
  return largest(top);
}

template <class T>
HRange extrapolate(const double* g, const double* last, const double* b, Index m, T* h,
                   T* w) noexcept {
  typedef Pack<double> P;
  constexpr bool single = sizeof(T) == sizeof(float);
  const P limit = P::all(single ? 1e30 : 1e300), magic = P::all(Exp2Table::magic_in_double);
  P low = P::all(1e300), high = P::all(-1e300);
  sweep<double>(m, [&](Index j, auto lanes) {
    const P now = load(g + j, lanes), weight = load(b + j, lanes);
    P x = max(min((now + now) - load(last + j, lanes), limit), P::all(0) - limit);
    if (!single) {
      narrow(h + j, x, lanes);
      narrow(w + j, weight, lanes);
      return;
    }
    const P rounded = (x + magic) - magic;  // 0 where x is huge: the rest is then too
    const P rest = max(min(x - rounded, P::all(1)), P::all(-1));
    narrow(h + j, x - rest, lanes);
    narrow(w + j, weight * exp(rest * P::all(0.6931471805599453)), lanes);
    low = min(x, low);
    high = max(x, high);
  });
  return {smallest(low), largest(high)};
}

template <class T>
double reduce(const T* c, const double* g, double f, double rate, const double* b, Index m,
              T* out) noexcept {
  typedef Pack<double> P;
  const P limit = P::all(sizeof(T) == sizeof(float) ? 1e38 : 1e300);
  P low = P::all(0);
  sweep<double>(m, [&](Index j, auto lanes) {
    P x = ((widen(c + j, lanes) - P::all(f)) - load(g + j, lanes)) * P::all(rate);
    x = max(min(x, limit), P::all(0) - limit);
    if (b != nullptr) x = where_positive(load(b + j, lanes), x, max(x, P::all(0)));
    low = min(x, low);
    narrow(out + j, x, lanes);
  });
  return smallest(low);
}

template <class T>
constexpr IpotRows<T> rows_for() noexcept {
  return {rows<T>, extrapolate<T>, subtract_log<T>, reduce<T>};
}

}  // namespace

extern const IpotTable ipot_table;
const IpotTable ipot_table = {rows_for<float>(), rows_for<double>()};

}  // namespace KANTORCH_SIMD
}  // namespace kantorch::cpu
