// What the implicit solve must satisfy.
#pragma once

#include "scaling_problem.hpp"

namespace scaling_test {

// The largest residual of M^T z = rhs or M z = rhs, with the right-hand side projected as the
// header says.
inline double residual(const Instance<double>& instance, const Solution& solution,
                       std::vector<double> x, std::vector<double> y, bool transposed,
                       const std::vector<double>& lambda, const std::vector<double>& mu) {
  const Index n = instance.n, m = instance.m;
  double along = 0, norm = 0;
  // The projection leaves the right-hand sides of points without mass as they are.
  const auto share = [&](double weight) { return transposed ? (weight > 0 ? 1.0 : 0.0) : weight; };
  for (Index i = 0; i < n; ++i) {
    along += (transposed ? 1 : instance.a[at(i)]) * x[at(i)];
    norm += share(instance.a[at(i)]) * share(instance.a[at(i)]);
  }
  for (Index j = 0; j < m; ++j) {
    along -= (transposed ? 1 : instance.b[at(j)]) * y[at(j)];
    norm += share(instance.b[at(j)]) * share(instance.b[at(j)]);
  }
  double largest = 0;
  const auto e = [&](Index i, Index j) {
    return std::exp((solution.f[at(i)] + solution.g[at(j)] - instance.cost[at(i * m + j)]) /
                    solution.eps[0]);
  };
  for (Index i = 0; i < n; ++i) {
    double sum = lambda[at(i)] - x[at(i)] + along / norm * share(instance.a[at(i)]);
    for (Index j = 0; j < m; ++j)
      sum += e(i, j) * mu[at(j)] * (transposed ? instance.a[at(i)] : instance.b[at(j)]);
    largest = std::fmax(largest, std::abs(sum));
  }
  for (Index j = 0; j < m; ++j) {
    double sum = mu[at(j)] - y[at(j)] - along / norm * share(instance.b[at(j)]);
    for (Index i = 0; i < n; ++i)
      sum += e(i, j) * lambda[at(i)] * (transposed ? instance.b[at(j)] : instance.a[at(i)]);
    largest = std::fmax(largest, std::abs(sum));
  }
  return largest;
}

}  // namespace scaling_test
