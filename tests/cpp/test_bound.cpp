#include <doctest/doctest.h>

#include <algorithm>

#include "scaling_problem.hpp"

using namespace scaling_test;

TEST_CASE_TEMPLATE("the bound is the value of the twice transformed potentials", T, float, double) {
  for (const auto& [n, m] : {std::pair<Index, Index>{1, 1}, {9, 3}, {100, 67}}) {
    const Instance<T> instance(1, n, m);
    auto solution = solve_sinkhorn(instance, 0.1);
    const kantorch::BoundProblem<T> problem{{instance.cost.data(), 1, n, m, n * m, m, {}},
                                            {solution.f.data(), n},
                                            {solution.g.data(), m},
                                            {instance.a.data(), n},
                                            {instance.b.data(), m}};
    auto workspace = scratch(dual_bound_workspace(problem, 2));
    double bound = 0, expected = 0;
    CHECK(kantorch::dual_bound(problem, &bound, workspace.data(), Cpu{2}) == Outcome::done);
    std::vector<double> g(at(m), INFINITY);
    for (Index s = 0; s < n * m; ++s) {
      g[at(s % m)] = std::fmin(g[at(s % m)],
                               static_cast<double>(instance.cost[at(s)]) - solution.f[at(s / m)]);
    }
    for (Index j = 0; j < m; ++j) expected += g[at(j)] * static_cast<double>(instance.b[at(j)]);
    for (Index i = 0; i < n; ++i) {
      double low = INFINITY;
      for (Index j = 0; j < m; ++j)
        low = std::fmin(low, static_cast<double>(instance.cost[at(i * m + j)]) - g[at(j)]);
      expected += low * static_cast<double>(instance.a[at(i)]);
    }
    CHECK(bound == doctest::Approx(expected).epsilon(1e-6));
    CHECK(bound <= solution.value_linear[0] + 1e-6);
  }
}
