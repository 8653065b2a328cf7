#include <doctest/doctest.h>

#include <algorithm>

#include "scaling_problem.hpp"

using namespace scaling_test;
using kantorch::Metric;
using kantorch::padded;
using kantorch::panel;
using kantorch::PointsBatch;

namespace {

// Points, and the instance that their distances make.
template <class T>
struct Clouds {
  Index dims;
  std::vector<T> x, panels;
  Instance<T> instance;

  Clouds(Index n, Index m, Index dims_, Metric metric)
      : dims(dims_),
        x(at(n * dims_)),
        panels(at(padded(m, panel) * dims_), T{0}),
        instance(1, n, m) {
    std::mt19937 random(1);
    std::uniform_real_distribution<double> uniform(0, 1);
    for (T& t : x) t = static_cast<T>(uniform(random));
    for (Index j = 0; j < m; ++j) {
      for (Index k = 0; k < dims; ++k) coordinate(j, k) = static_cast<T>(uniform(random));
    }
    for (Index i = 0; i < n; ++i) {
      for (Index j = 0; j < m; ++j) {
        double squares = 0, absolutes = 0, largest = 0;
        for (Index k = 0; k < dims; ++k) {
          const double t =
              static_cast<double>(x[at(i * dims + k)]) - static_cast<double>(coordinate(j, k));
          squares += t * t;
          absolutes += std::abs(t);
          largest = std::max(largest, std::abs(t));
        }
        const double distances[] = {squares, std::sqrt(squares), absolutes, largest};
        instance.cost[at(i * m + j)] = static_cast<T>(distances[static_cast<int>(metric)]);
      }
    }
  }

  T& coordinate(Index j, Index k) {
    return panels[at(j / panel * (panel * dims) + k * panel + j % panel)];
  }

  PointsBatch<T> view(Metric metric) const { return {x.data(), panels.data(), dims, 0, 0, metric}; }
};

double largest_difference_of_potentials(const Solution& one, const Solution& other) {
  double largest = 0;
  for (std::size_t i = 0; i < one.f.size(); ++i)
    largest = std::max(largest, std::abs(one.f[i] - other.f[i]));
  for (std::size_t j = 0; j < one.g.size(); ++j)
    largest = std::max(largest, std::abs(one.g[j] - other.g[j]));
  return largest;
}

}  // namespace

TEST_CASE_TEMPLATE("points are solved as the costs between them are", T, float, double) {
  const double rounding = std::is_same_v<T, float> ? 2e-5 : 1e-11;
  // Stored, of several blocks of rows that are no multiple of a group, and very wide and tall.
  for (const auto& [n, m] :
       {std::pair<Index, Index>{9, 21}, {1027, 1033}, {1, (1 << 20) + 3}, {(1 << 20) + 3, 1}}) {
    for (const Metric metric :
         {Metric::sqeuclidean, Metric::euclidean, Metric::cityblock, Metric::chebyshev}) {
      if (std::min(n, m) == 1 && metric != Metric::sqeuclidean) continue;
      const Index dims = n == 9 ? 70 : 3;
      const double eps = 0.1 * static_cast<double>(dims);
      const Options options{0, 3, Cpu{2}};
      const Clouds<T> clouds(n, m, dims, metric);
      const auto points = clouds.view(metric);
      CHECK(largest_difference_of_potentials(solve<Sinkhorn>(clouds.instance, eps, options, points),
                                             solve<Sinkhorn>(clouds.instance, eps, options)) <
            rounding * eps);
      CHECK(largest_difference_of_potentials(solve<Ipot>(clouds.instance, eps, options, points),
                                             solve<Ipot>(clouds.instance, eps, options)) <
            rounding * eps);
    }
  }
}
