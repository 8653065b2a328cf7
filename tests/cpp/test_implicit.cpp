#include <doctest/doctest.h>

#include "scaling_problem.hpp"

using namespace scaling_test;

namespace {

// The largest residual of M^T z = rhs or M z = rhs, with the right-hand side projected as the
// header says.
double residual(const Instance<double>& instance, const Solution& solution, std::vector<double> x,
                std::vector<double> y, bool transposed, const std::vector<double>& lambda,
                const std::vector<double>& mu) {
  const Index n = instance.n, m = instance.m;
  double along = 0, norm = 0;
  for (Index i = 0; i < n; ++i) {
    const double direction = transposed ? 1 : instance.a[at(i)];
    along += direction * x[at(i)];
    norm += direction * direction;
  }
  for (Index j = 0; j < m; ++j) {
    const double direction = transposed ? -1 : -instance.b[at(j)];
    along += direction * y[at(j)];
    norm += direction * direction;
  }
  double largest = 0;
  const auto e = [&](Index i, Index j) {
    return std::exp((solution.f[at(i)] + solution.g[at(j)] - instance.cost[at(i * m + j)]) /
                    solution.eps[0]);
  };
  for (Index i = 0; i < n; ++i) {
    double sum = lambda[at(i)] - x[at(i)] + along / norm * (transposed ? 1 : instance.a[at(i)]);
    for (Index j = 0; j < m; ++j)
      sum += e(i, j) * mu[at(j)] * (transposed ? instance.a[at(i)] : instance.b[at(j)]);
    largest = std::fmax(largest, std::abs(sum));
  }
  for (Index j = 0; j < m; ++j) {
    double sum = mu[at(j)] - y[at(j)] - along / norm * (transposed ? 1 : instance.b[at(j)]);
    for (Index i = 0; i < n; ++i)
      sum += e(i, j) * lambda[at(i)] * (transposed ? instance.b[at(j)] : instance.a[at(i)]);
    largest = std::fmax(largest, std::abs(sum));
  }
  return largest;
}

}  // namespace

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
