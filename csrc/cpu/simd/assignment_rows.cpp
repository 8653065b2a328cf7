#include "cpu/simd/assignment.hpp"

#include "cpu/simd/pack.hpp"
#include "cpu/simd/smallest.hpp"

namespace kantorch::cpu {
namespace KANTORCH_SIMD {
namespace {

constexpr double infinity = __builtin_huge_val();

// Of m values, at least a register of them: values(j) are those of the columns from j on.
template <class T, class Values>
TwoSmallest two_smallest_of(Index m, const Values& values) noexcept {
  using Int = typename IndexType<T>::type;
  constexpr Index width = Pack<T>::size;
  const Pack<Int> count = counting<Int>();
  Lanes<T> best{values(0), count};
  Pack<T> second = Pack<T>::all(static_cast<T>(infinity));
  Pack<Int> index = count;
  const Pack<Int> step = Pack<Int>::all(static_cast<Int>(width));
  Index j = width;
  for (; j + width <= m; j += width) {
    index = index + step;
    const Pack<T> x = values(j);
    second = min(second, max(best.value, x));
    best.take(x, index);
  }
  const Smallest first = best.reduce();
  T firsts[width], seconds[width];
  best.value.store(firsts);
  second.store(seconds);
  TwoSmallest result{first.value, infinity, first.index};
  const Index lane = first.index % width;
  for (Index k = 0; k < width; ++k) {
    const T other = k == lane || seconds[k] < firsts[k] ? seconds[k] : firsts[k];
    if (other < result.second) result.second = other;
  }
  return result;
}

inline void insert(TwoSmallest& best, double x, Index j) noexcept {
  if (x < best.first) {
    best = {x, best.first, j};
  } else if (x < best.second) {
    best.second = x;
  }
}

template <class T>
TwoSmallest two_smallest(const T* cost, double scale, double base, const double* g,
                         Index m) noexcept {
  constexpr Index width = Pack<double>::size;
  TwoSmallest best{infinity, infinity, 0};
  Index j = 0;
  if (m >= width) {
    const Pack<double> scales = Pack<double>::all(scale), bases = Pack<double>::all(base);
    j = m / width * width;
    best = two_smallest_of<double>(j, [&](Index k) {
      return (widened(cost + k) * scales - bases) - Pack<double>::load(g + k);
    });
  }
  for (; j < m; ++j) insert(best, (static_cast<double>(cost[j]) * scale - base) - g[j], j);
  return best;
}

TwoSmallest screen_two_smallest(const float* row, const float* g, Index padded) noexcept {
  return two_smallest_of<float>(
      padded, [&](Index j) { return Pack<float>::load(row + j) - Pack<float>::load(g + j); });
}

template <class T>
Smallest relax(const T* cost, double scale, double base, const double* g, double offset, Index row,
               Index m, double* distance, std::int64_t* via) noexcept {
  using Ints = Pack<std::int64_t>;
  constexpr Index width = Pack<double>::size;
  const Pack<double> scales = Pack<double>::all(scale), bases = Pack<double>::all(base);
  const Pack<double> offsets = Pack<double>::all(offset);
  const Ints rows = Ints::all(row), step = Ints::all(width);
  Ints index = counting<std::int64_t>();
  Lanes<double> best{Pack<double>::all(infinity), index};
  Index j = 0;
  for (; j + width <= m; j += width) {
    const Pack<double> x =
        ((widened(cost + j) * scales - bases) - Pack<double>::load(g + j)) - offsets;
    Lanes<double> nearer{Pack<double>::load(distance + j), Ints::load(via + j)};
    nearer.take(x, rows);
    nearer.value.store(distance + j);
    nearer.index.store(via + j);
    best.take(nearer.value, index);
    index = index + step;
  }
  Smallest result = best.reduce();
  for (; j < m; ++j) {
    const double x = ((static_cast<double>(cost[j]) * scale - base) - g[j]) - offset;
    if (x < distance[j]) {
      distance[j] = x;
      via[j] = row;
    }
    if (distance[j] < result.value) result = {distance[j], j};
  }
  return result;
}

template <class T>
constexpr AssignmentRows<T> rows_of() noexcept {
  return {two_smallest<T>, relax<T>};
}

}  // namespace

extern const AssignmentTable assignment_table;
const AssignmentTable assignment_table = {rows_of<float>(), rows_of<double>(), screen_two_smallest};

}  // namespace KANTORCH_SIMD
}  // namespace kantorch::cpu
