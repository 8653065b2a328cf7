#include "core/point_gradient.hpp"

#include "cuda/runtime/launch.hpp"
#include "cuda/scaling/problem.hpp"

namespace kantorch {
namespace cuda {
namespace {

// A warp takes a point of x. Each lane makes the plan's entry, and its factor of the slope, for one point of y; then all
// of them go through these points, each lane with a coordinate of its own.
template <class T>
struct PointGradient {
  static constexpr int threads = 128;
  static constexpr Index rows = threads / warp_size;  // of a block

  PointGradientProblem<T> problem;
  T* out;
  Index parts;  // blocks of a problem

  template <class Team>
  KANTORCH_DEVICE void operator()(Team& team) const {
    const Index n = problem.cost.rows, m = problem.cost.cols, k = team.block() / parts;
    const Index i = team.block() % parts * rows + team.warp();
    if (i >= n) return;
    const PointsView<T> points = problem.cost.points[k];
    const double rate = rate_of(problem.eps[k]);
    const double f = problem.f[k][i], weight = static_cast<double>(problem.a[k][i]);
    const double* const g = problem.g[k];
    const T* const b = problem.b[k];
    for (Index first = 0; first < points.dims; first += warp_size) {
      const Index d = first + team.lane();
      const T x = d < points.dims ? points.x[i * points.dims + d] : T(0);
      double sum = 0;
      for (Index start = 0; start < m; start += warp_size) {
        const Index j = start + team.lane();
        T c = 0, p = 0;
        if (j < m && weight != 0 && b[j] != 0) {
          c = distance(points, i, j);
          const double exponent = (f - static_cast<double>(c) + g[j]) * rate;
          p = static_cast<T>(weight) * b[j] * exponential<T>(team, exponent);
          if (points.metric == Metric::sqeuclidean) p *= 2;
          if (points.metric == Metric::euclidean) p = c > 0 ? p / c : T(0);
        }
        const int count = static_cast<int>(m - start < warp_size ? m - start : warp_size);
        for (int s = 0; s < count; ++s) {
          const T p_s = team.shuffle(p, s), c_s = team.shuffle(c, s);
          if (d >= points.dims) continue;
          const T t = x - y_of(points, start + s, d);
          sum += static_cast<double>(slope(points.metric, p_s, t, c_s));
        }
      }
      if (d < points.dims) out[(k * n + i) * points.dims + d] = static_cast<T>(sum);
    }
  }
  template <class Team>
  static constexpr Index bytes() {
    return 0;
  }

 private:
  KANTORCH_DEVICE static T y_of(const PointsView<T>& points, Index j, Index d) {
    return points.y[(j / panel * points.dims + d) * panel + j % panel];
  }

  // That of the distance c along a coordinate with the difference t; of the Euclidean ones p holds the rest.
  KANTORCH_DEVICE static T slope(Metric metric, T p, T t, T c) {
    if (metric == Metric::sqeuclidean || metric == Metric::euclidean) return p * t;
    const T size = t < 0 ? -t : t;
    if (t == 0 || (metric == Metric::chebyshev && size < c)) return 0;
    return t > 0 ? p : -p;
  }
};

}  // namespace
}  // namespace cuda

template <class T>
void point_gradient(const PointGradientProblem<T>& problem, T* out, const Cuda& exec) {
  const Index parts =
      (problem.cost.rows + cuda::PointGradient<T>::rows - 1) / cuda::PointGradient<T>::rows;
  cuda::launch(exec, problem.cost.batch * parts, cuda::PointGradient<T>{problem, out, parts});
}

template void point_gradient(const PointGradientProblem<float>&, float*, const Cuda&);
template void point_gradient(const PointGradientProblem<double>&, double*, const Cuda&);

}  // namespace kantorch
