#include "cpu/simd/distance_rows.hpp"

#include <cmath>

#include "cpu/simd/exp.hpp"
#include "cpu/simd/lanes.hpp"

namespace kantorch::cpu {
namespace KANTORCH_SIMD {
namespace {

// How the differences of the coordinates add up, and what the distance has for a slope along one of
// them.
template <class T>
struct Squares {
  static Pack<T> add(Pack<T> sum, Pack<T> t) noexcept { return sum + t * t; }
};
template <class T>
struct Absolutes {
  static Pack<T> add(Pack<T> sum, Pack<T> t) noexcept { return sum + max(t, Pack<T>::all(0) - t); }
};
template <class T>
struct Largest {
  static Pack<T> add(Pack<T> sum, Pack<T> t) noexcept {
    return max(max(t, Pack<T>::all(0) - t), sum);
  }
};

// Packs of y that a group of points meets at a time: the sums of a tile stay in registers.
constexpr int tile_packs = KANTORCH_VECTOR_BYTES == 64 ? 4 : 2;

template <template <class> class Sum, int R, int W, class T, class Lanes>
inline void tile(const T* x, const T* y, Index stride, Index dims, T* out, Lanes lanes) noexcept {
  typedef Pack<T> V;
  V sum[R][W];
  for (int r = 0; r < R; ++r) {
    for (int w = 0; w < W; ++w) sum[r][w] = V::all(0);
  }
  for (Index k = 0; k < dims; ++k) {
    V ys[W];
    for (int w = 0; w < W; ++w) ys[w] = load(y + k * stride + w * V::size, lanes);
    for (int r = 0; r < R; ++r) {
      const V xs = V::all(x[r * dims + k]);
      for (int w = 0; w < W; ++w) sum[r][w] = Sum<T>::add(sum[r][w], xs - ys[w]);
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int w = 0; w < W; ++w) store(out + r * stride + w * V::size, sum[r][w], lanes);
  }
}

template <template <class> class Sum, int R, class T>
inline void group(const T* x, const T* y, Index m, Index dims, T* out) noexcept {
  constexpr Index width = tile_packs * Pack<T>::size;
  Index j = 0;
  for (; j + width <= m; j += width)
    tile<Sum, R, tile_packs>(x, y + j, m, dims, out + j, AllLanes<T>{});
  sweep<T>(m - j, [&](Index at, auto lanes) {
    tile<Sum, R, 1>(x, y + j + at, m, dims, out + j + at, lanes);
  });
}

template <template <class> class Sum, class T>
inline void sums(const PointsView<T>& points, const T* x, Index count, Index m, T* out) noexcept {
  if (count == distance_group) {
    group<Sum, distance_group>(x, points.y, m, points.dims, out);
    return;
  }
  for (Index r = 0; r < count; ++r)
    group<Sum, 1>(x + r * points.dims, points.y, m, points.dims, out + r * m);
}

template <class T>
void rows(const PointsView<T>& points, const T* x, Index count, Index m, T* out) noexcept {
  switch (points.metric) {
    case Metric::cityblock:
      return sums<Absolutes>(points, x, count, m, out);
    case Metric::chebyshev:
      return sums<Largest>(points, x, count, m, out);
    case Metric::sqeuclidean:
      return sums<Squares>(points, x, count, m, out);
    case Metric::euclidean:
      sums<Squares>(points, x, count, m, out);
      for (Index j = 0; j < count * m; ++j) out[j] = std::sqrt(out[j]);
  }
}

// The slope of the distance along a coordinate, given the difference t there and the distance c.
template <class T>
struct Along {  // of the Euclidean metrics the weights hold the rest
  static Pack<T> slope(Pack<T> p, Pack<T> t, Pack<T>) noexcept { return p * t; }
};
template <class T>
struct Sign {
  static Pack<T> slope(Pack<T> p, Pack<T> t, Pack<T>) noexcept {
    const Pack<T> zero = Pack<T>::all(0);
    return where_positive(t, p, where_positive(zero - t, zero - p, zero));
  }
};
template <class T>
struct SignOfLargest {
  static Pack<T> slope(Pack<T> p, Pack<T> t, Pack<T> c) noexcept {
    const Pack<T> zero = Pack<T>::all(0);
    return where_positive(t, zero_below(t, c, p), zero_below(zero - t, c, zero - p));
  }
};

constexpr Index longest_chain = 4096;  // terms summed in T before the sum goes on in double

template <template <class> class Slope, int R, class T>
inline void pull_group(const T* x, const T* y, Index m, Index dims, const T* p, const T* c,
                       T* out) noexcept {
  typedef Pack<T> V;
  for (Index k = 0; k < dims; ++k) {
    double totals[R] = {};
    V xs[R];
    for (int r = 0; r < R; ++r) xs[r] = V::all(x[r * dims + k]);
    for (Index j0 = 0; j0 < m; j0 += longest_chain) {
      const Index width = m - j0 < longest_chain ? m - j0 : longest_chain;
      V sum_of_rows[R];
      for (int r = 0; r < R; ++r) sum_of_rows[r] = V::all(0);
      sweep<T>(width, [&](Index j, auto lanes) {
        j += j0;
        const V ys = load(y + k * m + j, lanes);
        for (int r = 0; r < R; ++r) {
          const V ps = load(p + r * m + j, lanes), cs = load(c + r * m + j, lanes);
          sum_of_rows[r] = sum_of_rows[r] + Slope<T>::slope(ps, xs[r] - ys, cs);
        }
      });
      for (int r = 0; r < R; ++r) totals[r] += static_cast<double>(sum(sum_of_rows[r]));
    }
    for (int r = 0; r < R; ++r) out[r * dims + k] = static_cast<T>(totals[r]);
  }
}

template <template <class> class Slope, class T>
inline void pull_rows(const PointsView<T>& points, const T* x, Index count, Index m, const T* p,
                      const T* c, T* out) noexcept {
  const Index dims = points.dims;
  if (count == distance_group) {
    pull_group<Slope, distance_group>(x, points.y, m, dims, p, c, out);
    return;
  }
  for (Index r = 0; r < count; ++r)
    pull_group<Slope, 1>(x + r * dims, points.y, m, dims, p + r * m, c + r * m, out + r * dims);
}

template <class T>
void pull(const PointsView<T>& points, const T* x, Index count, Index m, T* p, const T* c,
          T* out) noexcept {
  switch (points.metric) {
    case Metric::cityblock:
      return pull_rows<Sign>(points, x, count, m, p, c, out);
    case Metric::chebyshev:
      return pull_rows<SignOfLargest>(points, x, count, m, p, c, out);
    case Metric::sqeuclidean:
      for (Index j = 0; j < count * m; ++j) p[j] *= 2;
      return pull_rows<Along>(points, x, count, m, p, c, out);
    case Metric::euclidean:  // the subgradient at distance 0 is 0
      for (Index j = 0; j < count * m; ++j) p[j] = c[j] > 0 ? p[j] / c[j] : 0;
      return pull_rows<Along>(points, x, count, m, p, c, out);
  }
}

template <class T>
constexpr DistanceRows<T> rows_for() noexcept {
  return {rows<T>, pull<T>};
}

}  // namespace

extern const DistanceTable distance_table;
const DistanceTable distance_table = {rows_for<float>(), rows_for<double>()};

}  // namespace KANTORCH_SIMD
}  // namespace kantorch::cpu
