#include "cpu/simd/distance_rows.hpp"

#include <cmath>
#include <limits>

#include "cpu/simd/exp.hpp"
#include "cpu/simd/lanes.hpp"
#include "cpu/simd/panels.hpp"

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

template <template <class> class Sum, int R, class T>
inline void tile(const T* x, const T* y, Index dims, T* out, Index stride) noexcept {
  typedef Pack<T> V;
  constexpr int W = tile_packs<T>;
  V sum[R][W];
  for (int r = 0; r < R; ++r) {
    for (int w = 0; w < W; ++w) sum[r][w] = V::all(0);
  }
  for (Index k = 0; k < dims; ++k) {
    V ys[W];
    for (int w = 0; w < W; ++w) ys[w] = V::load(y + k * panel + w * V::size);
    for (int r = 0; r < R; ++r) {
      const V xs = V::all(x[r * dims + k]);
      for (int w = 0; w < W; ++w) sum[r][w] = Sum<T>::add(sum[r][w], xs - ys[w]);
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int w = 0; w < W; ++w) sum[r][w].store(out + r * stride + w * V::size);
  }
}

template <template <class> class Sum, class T>
inline void sums(const PointsView<T>& points, const T* x, Index count, Index m, T* out) noexcept {
  const Index dims = points.dims, stride = padded(m, panel);
  for_tiles(points.y, dims, 0, stride, count, [&](Index j, const T* y, Index r, auto rows) {
    tile<Sum, rows.value>(x + r * dims, y, dims, out + r * stride + j, stride);
  });
}

// Squares of distances from `shortest` to the largest number have all their digits. Beyond, the
// differences are multiplied by a power of 2 first, which brings any of them into that range.
template <class T>
constexpr T shortest = static_cast<T>(sizeof(T) == sizeof(float) ? 0x1p-51 : 0x1p-485);
template <class T>
constexpr T enlarged = static_cast<T>(sizeof(T) == sizeof(float) ? 0x1p+90 : 0x1p+700);

template <class T>
T rescaled_distance(const T* x, const T* y, Index dims, T unit) noexcept {
  T sum = 0;
  for (Index k = 0; k < dims; ++k) {
    const T t = (x[k] - y[k * panel]) * unit;
    sum += t * t;
  }
  return std::sqrt(sum) / unit;
}

template <class T>
void take_roots(const PointsView<T>& points, const T* x, Index count, Index m, T* out) noexcept {
  const Index dims = points.dims, stride = padded(m, panel);
  constexpr T longest = std::numeric_limits<T>::max();
  for (Index r = 0; r < count; ++r) {
    T* distances = out + r * stride;
    Pack<T> low = Pack<T>::all(longest), high = Pack<T>::all(0);
    for (Index j = 0; j < stride; j += Pack<T>::size) {
      const Pack<T> squares = Pack<T>::load(distances + j);
      low = min(low, squares);
      high = max(high, squares);
    }
    for (Index j = 0; j < stride; ++j) distances[j] = std::sqrt(distances[j]);
    if (smallest(low) >= shortest<T> * shortest<T> && largest(high) <= longest) continue;
    for (Index j = 0; j < stride; ++j) {
      if (distances[j] >= shortest<T> && distances[j] <= longest) continue;
      const T unit = distances[j] < 1 ? enlarged<T> : 1 / enlarged<T>;
      const T* y = points.y + j / panel * (panel * dims) + j % panel;
      distances[j] = rescaled_distance(x + r * dims, y, dims, unit);
    }
  }
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
      return take_roots(points, x, count, m, out);
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
    return where_positive(t, zero_below(t, c, p),
                          where_positive(zero - t, zero_below(zero - t, c, zero - p), zero));
  }
};

constexpr Index longest_chain = 4096;  // terms summed in T before the sum goes on in double
constexpr Index most_sums = 64;        // coordinates whose sums are kept at a time

template <template <class> class Slope, class T>
inline void gradient_rows(const PointsView<T>& points, const T* x, Index count, Index m, const T* p,
                          const T* c, T* out) noexcept {
  typedef Pack<T> V;
  const Index dims = points.dims, stride = padded(m, panel);
  for (Index k0 = 0; k0 < dims; k0 += most_sums) {
    const Index size = dims - k0 < most_sums ? dims - k0 : most_sums;
    double totals[distance_group * most_sums] = {};
    for (Index j0 = 0; j0 < stride; j0 += longest_chain) {
      const Index end = stride - j0 < longest_chain ? stride : j0 + longest_chain;
      V sums[distance_group * most_sums];
      for (Index s = 0; s < count * size; ++s) sums[s] = V::all(0);
      for (Index j = j0; j < end; j += V::size) {
        const T* y = points.y + j / panel * (panel * dims) + k0 * panel + j % panel;
        for (Index r = 0; r < count; ++r) {
          const V ps = V::load(p + r * stride + j), cs = V::load(c + r * stride + j);
          const T* from = x + r * dims + k0;
          for (Index k = 0; k < size; ++k) {
            const V t = V::all(from[k]) - V::load(y + k * panel);
            sums[r * size + k] = sums[r * size + k] + Slope<T>::slope(ps, t, cs);
          }
        }
      }
      for (Index s = 0; s < count * size; ++s) totals[s] += static_cast<double>(sum(sums[s]));
    }
    for (Index r = 0; r < count; ++r) {
      for (Index k = 0; k < size; ++k)
        out[r * dims + k0 + k] = static_cast<T>(totals[r * size + k]);
    }
  }
}

template <class T>
void point_gradient(const PointsView<T>& points, const T* x, Index count, Index m, T* p, const T* c,
                    T* out) noexcept {
  const Index size = count * padded(m, panel);
  switch (points.metric) {
    case Metric::cityblock:
      return gradient_rows<Sign>(points, x, count, m, p, c, out);
    case Metric::chebyshev:
      return gradient_rows<SignOfLargest>(points, x, count, m, p, c, out);
    case Metric::sqeuclidean:
      for (Index j = 0; j < size; ++j) p[j] *= 2;
      return gradient_rows<Along>(points, x, count, m, p, c, out);
    case Metric::euclidean:  // the subgradient at distance 0 is 0
      for (Index j = 0; j < size; ++j) p[j] = c[j] > 0 ? p[j] / c[j] : 0;
      return gradient_rows<Along>(points, x, count, m, p, c, out);
  }
}

template <class T>
constexpr DistanceRows<T> rows_for() noexcept {
  return {rows<T>, point_gradient<T>};
}

}  // namespace

extern const DistanceTable distance_table;
const DistanceTable distance_table = {rows_for<float>(), rows_for<double>()};

}  // namespace KANTORCH_SIMD
}  // namespace kantorch::cpu
