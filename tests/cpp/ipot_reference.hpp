// What IPOT's solvers must return, whatever they run on.
#pragma once

#include "scaling_problem.hpp"

namespace scaling_test {

// The published algorithm, multiplications of positive numbers throughout, on the points with mass; `b` scales the columns at first.
inline std::vector<double> ipot_reference(const Instance<double>& instance, double beta,
                                          Index steps, std::vector<double> b = {}) {
  const Index n = instance.n, m = instance.m;
  std::vector<double> plan(at(n * m), 1.0), q(at(n * m)), a(at(n));
  if (b.empty()) b.assign(at(m), 1.0 / static_cast<double>(m));
  for (Index j = 0; j < m; ++j) b[at(j)] = instance.b[at(j)] > 0 ? b[at(j)] : 0;
  for (Index t = 0; t < steps; ++t) {
    for (Index s = 0; s < n * m; ++s)
      q[at(s)] = plan[at(s)] * std::exp(-instance.cost[at(s)] / beta);
    for (Index i = 0; i < n; ++i) {
      double sum = 0;
      for (Index j = 0; j < m; ++j) sum += q[at(i * m + j)] * b[at(j)];
      a[at(i)] = instance.a[at(i)] / sum;
    }
    for (Index j = 0; j < m; ++j) {
      double sum = 0;
      for (Index i = 0; i < n; ++i) sum += q[at(i * m + j)] * a[at(i)];
      b[at(j)] = instance.b[at(j)] / sum;
    }
    for (Index s = 0; s < n * m; ++s) plan[at(s)] = a[at(s / m)] * q[at(s)] * b[at(s % m)];
  }
  return plan;
}

template <class T, class From>
Instance<T> converted(const Instance<From>& from) {
  Instance<T> instance(from.batch, from.n, from.m);
  instance.cost.assign(from.cost.begin(), from.cost.end());
  instance.a.assign(from.a.begin(), from.a.end());
  instance.b.assign(from.b.begin(), from.b.end());
  return instance;
}

// A problem with some points without mass, as the solver sees it, and the same numbers in double.
template <class T>
Instance<T> with_massless_points(Index n, Index m, Instance<double>* exact) {
  *exact = Instance<double>(1, n, m);
  if (n > 4) exact->a[2] = 0;
  if (m > 4) exact->b[1] = 0;
  exact->rescale();
  const auto instance = converted<T>(*exact);
  *exact = converted<double>(instance);
  return instance;
}

}  // namespace scaling_test
