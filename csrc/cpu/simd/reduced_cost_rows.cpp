#include "cpu/simd/reduced_cost.hpp"

#include "cpu/simd/lanes.hpp"
#include "cpu/simd/smallest.hpp"

namespace kantorch::cpu {
namespace KANTORCH_SIMD {
namespace {

// Lane by lane the smallest of m values: values(j) are those of the columns from j on. A row
// shorter than a register is the caller's to handle.
template <class T, class Values>
Lanes<T> smallest_lanes(Index m, const Values& values) noexcept {
  using Int = typename IndexType<T>::type;
  constexpr Index width = Pack<T>::size;
  const Pack<Int> count = counting<Int>();
  const auto at = [&](Index j) { return count + Pack<Int>::all(static_cast<Int>(j)); };
  Lanes<T> best{values(0), count};
  Index j = width;
  if (m >= 8 * width) {  // independent accumulators hide the latency of the comparisons
    Lanes<T> more[4] = {best, best, best, best};
    const Pack<Int> step = Pack<Int>::all(static_cast<Int>(width));
    Pack<Int> index = count + step;
    for (; j + 4 * width <= m; j += 4 * width) {
      for (Index k = 0; k < 4; ++k) {
        more[k].take(values(j + k * width), index);
        index = index + step;
      }
    }
    for (Index k = 0; k < 4; ++k) best.merge(more[k]);
  }
  for (; j + width <= m; j += width) best.take(values(j), at(j));
  if (j < m) best.merge({values(m - width), at(m - width)});  // overlaps what was seen
  return best;
}

inline void store_narrowed(Pack<double> x, float* to) noexcept {
#if defined(__GNUC__) || defined(__clang__)
  typedef float Half __attribute__((vector_size(KANTORCH_VECTOR_BYTES / 2)));
  const Half half = __builtin_convertvector(x.v, Half);
  std::memcpy(to, &half, sizeof(half));
#else
  for (Index k = 0; k < Pack<double>::size; ++k) to[k] = static_cast<float>(x[k]);
#endif
}

constexpr Index lanes = Pack<double>::size;

template <class T>
void range(const T* cost, Index m, T* low, T* high) noexcept {
  constexpr Index width = Pack<T>::size;
  Index j = 0;
  T smallest = *low;
  T largest = *high;
  if (m >= width) {
    Pack<T> down = Pack<T>::load(cost);
    Pack<T> up = down;
    for (j = width; j + width <= m; j += width) {
      const Pack<T> x = Pack<T>::load(cost + j);
      down = min(down, x);
      up = max(up, x);
    }
    for (Index k = 0; k < width; ++k) {
      smallest = down[k] < smallest ? down[k] : smallest;
      largest = up[k] > largest ? up[k] : largest;
    }
  }
  for (; j < m; ++j) {
    smallest = cost[j] < smallest ? cost[j] : smallest;
    largest = cost[j] > largest ? cost[j] : largest;
  }
  *low = smallest;
  *high = largest;
}

template <class T>
void screen(const T* cost, double scale, double base, double f, const double* g, Index m,
            float* out) noexcept {
  const Pack<double> scales = Pack<double>::all(scale);
  const Pack<double> bases = Pack<double>::all(base);
  const Pack<double> fs = Pack<double>::all(f);
  Index j = 0;
  for (; j + lanes <= m; j += lanes) {
    const Pack<double> c = widened(cost + j) * scales - bases;
    store_narrowed((c - fs) - Pack<double>::load(g + j), out + j);
  }
  for (; j < m; ++j) {
    const double c = static_cast<double>(cost[j]) * scale - base;
    out[j] = static_cast<float>((c - f) - g[j]);
  }
}

template <class T>
Smallest smallest(const T* cost, double scale, double base, const double* g, Index m) noexcept {
  if (m < lanes) {
    Smallest best{static_cast<double>(cost[0]) * scale - base - g[0], 0};
    for (Index j = 1; j < m; ++j) {
      const double x = (static_cast<double>(cost[j]) * scale - base) - g[j];
      if (x < best.value) best = {x, j};
    }
    return best;
  }
  const Pack<double> scales = Pack<double>::all(scale);
  const Pack<double> bases = Pack<double>::all(base);
  const auto values = [&](Index j) {
    return (widened(cost + j) * scales - bases) - Pack<double>::load(g + j);
  };
  return smallest_lanes<double>(m, values).reduce();
}

template <class T>
double least(const T* cost, double scale, double base, const double* g, Index m) noexcept {
  if (m < lanes) return smallest(cost, scale, base, g, m).value;
  const Pack<double> scales = Pack<double>::all(scale);
  const Pack<double> bases = Pack<double>::all(base);
  const auto values = [&](Index j) {
    return (widened(cost + j) * scales - bases) - Pack<double>::load(g + j);
  };
  Pack<double> low = values(m - lanes), other = low;  // overlaps what comes
  Index j = 0;
  for (; j + 2 * lanes <= m; j += 2 * lanes) {
    low = min(low, values(j));
    other = min(other, values(j + lanes));
  }
  if (j + lanes <= m) low = min(low, values(j));
  return smallest(min(low, other));
}

template <class T>
void lower(const T* cost, double scale, double base, double f, Index m, double* low) noexcept {
  const Pack<double> scales = Pack<double>::all(scale);
  const Pack<double> bases = Pack<double>::all(base);
  const Pack<double> fs = Pack<double>::all(f);
  Index j = 0;
  for (; j + lanes <= m; j += lanes) {
    const Pack<double> x = (widened(cost + j) * scales - bases) - fs;
    min(Pack<double>::load(low + j), x).store(low + j);
  }
  for (; j < m; ++j) {
    const double x = (static_cast<double>(cost[j]) * scale - base) - f;
    low[j] = x < low[j] ? x : low[j];
  }
}

// First the value and then its place, which most rows are not asked for.
Smallest screen_smallest(const float* row, const float* g, Index padded, float limit) noexcept {
  constexpr Index width = Pack<float>::size;
  const auto values = [&](Index j) {
    return Pack<float>::load(row + j) - Pack<float>::load(g + j);
  };
  Pack<float> low = values(0), other = values(width);
  for (Index j = 2 * width; j < padded; j += 2 * width) {
    low = min(low, values(j));
    other = min(other, values(j + width));
  }
  const float least = smallest(min(low, other));
  if (!(least < limit)) return {__builtin_huge_val(), 0};
  const Pack<float> wanted = Pack<float>::all(least);
  for (Index j = 0;; j += width) {
    const unsigned found = at_most(values(j), wanted);
    if (found != 0) return {static_cast<double>(least), j + lowest(found)};
  }
}

Index screen_below(const float* row, Index padded, float limit, Index most,
                   std::int32_t* columns) noexcept {
  const Pack<float> limits = Pack<float>::all(limit);
  Index count = 0;
  for (Index j = 0; j < padded; j += Pack<float>::size) {
    for (unsigned rest = at_most(Pack<float>::load(row + j), limits); rest != 0; rest &= rest - 1) {
      if (count == most) return count;
      columns[count++] = static_cast<std::int32_t>(j + lowest(rest));
    }
  }
  return count;
}

void shortlist(const float* row, Index padded, float* values, std::int32_t* columns) noexcept {
  using Ints = Pack<std::int32_t>;
  constexpr Index width = Pack<float>::size;
  for (Index lane = 0; lane < shortlist_size; lane += width) {
    const Ints count = counting<std::int32_t>();
    Lanes<float> best{Pack<float>::load(row + lane),
                      count + Ints::all(static_cast<std::int32_t>(lane))};
    for (Index j = lane; j - lane < padded - shortlist_size;) {
      j += shortlist_step;
      if (j - lane > padded - shortlist_size) j = padded - shortlist_size + lane;
      best.take(Pack<float>::load(row + j), count + Ints::all(static_cast<std::int32_t>(j)));
    }
    best.value.store(values + lane);
    best.index.store(columns + lane);
  }
}

Smallest shortlist_smallest(const float* values, const std::int32_t* columns,
                            const float* g) noexcept {
  constexpr Index width = Pack<float>::size, count = shortlist_size / width;
  Pack<float> x[count];
  for (Index k = 0; k < count; ++k)
    x[k] = Pack<float>::load(values + k * width) - gathered(g, columns + k * width);
  Pack<float> low = x[0];
  for (Index k = 1; k < count; ++k) low = min(low, x[k]);
  const float least = smallest(low);
  const Pack<float> wanted = Pack<float>::all(least);
  Index k = 0;  // one of them is `least`: no value is NaN
  while (k + 1 < count && at_most(x[k], wanted) == 0) ++k;
  return {static_cast<double>(least), k * width + lowest(at_most(x[k], wanted))};
}

template <class T>
constexpr ReducedCostRows<T> rows_of() noexcept {
  return {range<T>, screen<T>, smallest<T>, least<T>, lower<T>};
}

}  // namespace

extern const ReducedCostTable reduced_cost_table;
const ReducedCostTable reduced_cost_table = {rows_of<float>(), rows_of<double>(),
                                             screen_smallest,  screen_below,
                                             shortlist,        shortlist_smallest};

}  // namespace KANTORCH_SIMD
}  // namespace kantorch::cpu
