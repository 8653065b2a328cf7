#include <doctest/doctest.h>

#include "implicit_residual.hpp"

using namespace scaling_test;

TEST_CASE("the implicit solve satisfies its equations, at points without mass too") {
  for (const auto& [n, m] : {std::pair<Index, Index>{1, 1}, {5, 9}, {9, 5}, {70, 130}, {90, 80}}) {
    Instance<double> instance(1, n, m);
    if (n > 2) instance.a[1] = 0;
    if (m > 2) instance.b[2] = 0;
    instance.rescale();
    const auto solution = solve_sinkhorn(instance, 0.05, {1e-12, 100000});
    std::vector<double> x(at(n)), y(at(m)), lambda(at(n)), mu(at(m));
    for (Index i = 0; i < n; ++i) x[at(i)] = std::sin(static_cast<double>(3 * i + 1));
    for (Index j = 0; j < m; ++j) y[at(j)] = std::cos(static_cast<double>(5 * j));
    for (const bool transposed : {true, false}) {
      const kantorch::ImplicitProblem<double> problem{{instance.cost.data(), 1, n, m, n * m, m, {}},
                                                      {solution.f.data(), n},
                                                      {solution.g.data(), m},
                                                      {instance.a.data(), n},
                                                      {instance.b.data(), m},
                                                      solution.eps.data(),
                                                      {x.data(), n},
                                                      {y.data(), m},
                                                      transposed};
      std::vector<char> workspace(at(implicit_workspace(problem, 2)));
      CHECK(implicit(problem, lambda.data(), mu.data(), workspace.data(), Cpu{2}) == Outcome::done);
      CHECK(residual(instance, solution, x, y, transposed, lambda, mu) < 1e-9);
    }
  }
}
