#include "cpu/simd/gibbs_rows.hpp"

#include <limits>

#include "cpu/simd/exp.hpp"
#include "cpu/simd/lanes.hpp"

namespace kantorch::cpu {
namespace KANTORCH_SIMD {
namespace {

typedef Pack<double> P;

// Costs may be infinite in units of eps, potentials never are. So exponents are clamped where they
// are subtracted from each other.
constexpr double lowest = -1e300;
constexpr double infinity = std::numeric_limits<double>::infinity();

template <class T, class Lanes>
inline P exponent(const T* c, P rates, Lanes lanes) noexcept {
  return min(max(rates * widen(c, lanes), P::all(lowest)), P::all(-lowest));
}

// As exact as costs in T deserve.
template <class T>
inline P power(P x) noexcept {
  return sizeof(T) == sizeof(float) ? quick_exp(x) : exp(x);
}

template <class T>
RowTop softmin(const T* c, const double* g, const double* b, double rate, Index m,
               double* e) noexcept {
  const P rates = P::all(rate);
  P top = P::all(lowest);
  sweep<double>(m, [&](Index j, auto lanes) {
    const P t = load(g + j, lanes) - exponent(c + j, rates, lanes);
    top = max(where_positive(load(b + j, lanes), t, P::all(lowest)), top);
  });
  const P tops = P::all(largest(top));
  P total = P::all(0);
  sweep<double>(m, [&](Index j, auto lanes) {
    const P x = exp((load(g + j, lanes) - exponent(c + j, rates, lanes)) - tops);
    store(e + j, x, lanes);
    total = total + load(b + j, lanes) * x;
  });
  return {tops[0], sum(total)};
}

void add(double x, const double* e, Index m, double* y) noexcept {
  const P xs = P::all(x);
  sweep<double>(m, [&](Index j, auto lanes) {
    store(y + j, load(y + j, lanes) + xs * load(e + j, lanes), lanes);
  });
}

// K in double, from column `from` on.
template <class T>
void kernel_from(Index from, const T* c, const double* g, double f, double rate, Index m,
                 T* out) noexcept {
  constexpr bool single = sizeof(T) == sizeof(float);
  const P rates = P::all(rate), fs = P::all(f), top = P::all(single ? 78 : 650);
  const P low = P::all(single ? -87 : -708);  // no subnormal numbers, which are slow
  sweep<double>(m - from, [&](Index j, auto lanes) {
    j += from;
    const P t = (fs + load(g + j, lanes)) - widen(c + j, lanes) * rates;
    narrow(out + j, zero_below(t, low, exp(min(t, top))), lanes);
  });
}

void kernel(const double* c, const double* g, double f, double rate, Index m,
            double* out) noexcept {
  kernel_from(0, c, g, f, rate, m, out);
}

// The exponents in double, but twice as many exponentials at a time in float.
void kernel(const float* c, const double* g, double f, double rate, Index m, float* out) noexcept {
  const P rates = P::all(rate), fs = P::all(f), top = P::all(78);
  const AllLanes<double> lanes;
  Index j = 0;
  for (; j + Pack<float>::size <= m; j += Pack<float>::size) {
    P t[2];
    for (Index h = 0; h < 2; ++h) {
      const Index at = j + h * P::size;
      t[h] = min((fs + load(g + at, lanes)) - widen(c + at, lanes) * rates, top);
    }
    exp(t[0], t[1]).store(out + j);
  }
  kernel_from(j, c, g, f, rate, m, out);
}

template <class T>
void plan(const T* c, const double* g, const T* y, double f, double x, double rate, Index m,
          T* out) noexcept {
  const P rates = P::all(rate), fs = P::all(f), xs = P::all(x);
  sweep<double>(m, [&](Index j, auto lanes) {
    const P e = power<T>((fs + load(g + j, lanes)) - widen(c + j, lanes) * rates);
    narrow(out + j, (xs * e) * widen(y + j, lanes), lanes);
  });
}

template <class T>
void plan_in_double(const T* c, const double* g, const double* b, double f, double a, double rate,
                    Index m, double* out) noexcept {
  const P rates = P::all(rate), fs = P::all(f), as = P::all(a);
  sweep<double>(m, [&](Index j, auto lanes) {
    const P e = power<T>((fs + load(g + j, lanes)) - widen(c + j, lanes) * rates);
    store(out + j, (as * e) * load(b + j, lanes), lanes);
  });
}

template <class T>
RowSums measure(const T* c, const double* g, const double* b, double f, double a, double rate,
                Index m, double* col) noexcept {
  const P rates = P::all(rate), fs = P::all(f), as = P::all(a);
  P mass = P::all(0), cost = P::all(0);
  sweep<double>(m, [&](Index j, auto lanes) {
    const P cs = widen(c + j, lanes);
    const P e = as * power<T>((fs + load(g + j, lanes)) - cs * rates);
    store(col + j, load(col + j, lanes) + e, lanes);
    const P x = load(b + j, lanes) * e;
    mass = mass + x;
    cost = cost + x * cs;
  });
  return {sum(mass), sum(cost)};
}

template <class T>
void raise(const T* c, double f, double rate, Index m, double* top) noexcept {
  const P rates = P::all(rate), fs = P::all(f);
  sweep<double>(m, [&](Index j, auto lanes) {
    store(top + j, max(fs - exponent(c + j, rates, lanes), load(top + j, lanes)), lanes);
  });
}

template <class T>
void add_below(const T* c, const double* top, double f, double a, double rate, Index m,
               double* total) noexcept {
  const P rates = P::all(rate), fs = P::all(f), as = P::all(a);
  sweep<double>(m, [&](Index j, auto lanes) {
    const P x = exp((fs - exponent(c + j, rates, lanes)) - load(top + j, lanes));
    store(total + j, load(total + j, lanes) + as * x, lanes);
  });
}

template <class T>
double smallest(const T* c, const double* g, Index m) noexcept {
  P low = P::all(infinity);
  sweep<double>(m, [&](Index j, auto lanes) {
    // Unused lanes of g are -infinity, so that their difference is not the smallest.
    low = min(widen(c + j, lanes) - load(g + j, lanes, -infinity), low);
  });
  return KANTORCH_SIMD::smallest(low);
}

template <class T>
void lower(const T* c, double f, Index m, double* low) noexcept {
  const P fs = P::all(f);
  sweep<double>(m, [&](Index j, auto lanes) {
    store(low + j, min(widen(c + j, lanes) - fs, load(low + j, lanes)), lanes);
  });
}

template <class T>
void range(const T* c, const double* b, double limit, Index m, double* low, double* high) noexcept {
  P lows = P::all(*low), highs = P::all(*high);
  const P limits = P::all(limit);
  sweep<double>(m, [&](Index j, auto lanes) {
    const P x = widen(c + j, lanes), weight = load(b + j, lanes);
    lows = min(where_positive(weight, x, lows), lows);
    highs = max(where_positive(weight, where_positive(limits - x, x, highs), highs), highs);
  });
  *low = KANTORCH_SIMD::smallest(lows);
  *high = largest(highs);
}

template <class T>
RowSums excess(const T* c, const double* b, double limit, double from, double share,
               Index m) noexcept {
  const P limits = P::all(limit), froms = P::all(from), shares = P::all(share), zero = P::all(0);
  P mass = zero, cost = zero;
  sweep<double>(m, [&](Index j, auto lanes) {
    const P x = widen(c + j, lanes), weight = load(b + j, lanes);
    const P counted = where_positive(weight, where_positive(limits - x, shares, zero), zero);
    mass = mass + counted;
    cost = cost + where_positive(counted, (x - froms) * shares, zero);
  });
  return {sum(mass), sum(cost)};
}

template <class T>
constexpr GibbsRows<T> rows_for() noexcept {
  return {softmin<T>, add,          kernel,      plan<T>,  plan_in_double<T>, measure<T>,
          raise<T>,   add_below<T>, smallest<T>, lower<T>, range<T>,          excess<T>};
}

}  // namespace

extern const GibbsTable gibbs_table;
const GibbsTable gibbs_table = {rows_for<float>(), rows_for<double>()};

}  // namespace KANTORCH_SIMD
}  // namespace kantorch::cpu
