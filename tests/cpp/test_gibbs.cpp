#include <doctest/doctest.h>

#include "scaling_problem.hpp"

using namespace scaling_test;

TEST_CASE_TEMPLATE("gibbs is its definition, for factors of any sign", T, float, double) {
  const Instance<T> instance(2, 9, 21);
  auto solution = solve_sinkhorn(instance, 0.3);
  std::vector<T> x(18), y(42), plan(2 * 9 * 21);
  for (std::size_t s = 0; s < x.size(); ++s) x[s] = T(s % 3 == 0 ? 0 : s % 2 == 0 ? 1.5 : -0.25);
  for (std::size_t s = 0; s < y.size(); ++s)
    y[s] = T(s % 4 == 0 ? 0 : 2 - 0.1 * static_cast<double>(s));
  const kantorch::GibbsProblem<T> problem{{instance.cost.data(), 2, 9, 21, 9 * 21, 21, {}},
                                          {solution.f.data(), 9},
                                          {solution.g.data(), 21},
                                          {x.data(), 9},
                                          {y.data(), 21},
                                          solution.eps.data()};
  auto workspace = scratch(gibbs_workspace(problem, 2));
  CHECK(kantorch::gibbs(problem, plan.data(), workspace.data(), Cpu{2}) == Outcome::done);
  for (std::size_t s = 0; s < plan.size(); ++s) {
    const std::size_t i = s / 21, j = i / 9 * 21 + s % 21;
    const double exponent =
        (solution.f[i] + solution.g[j] - static_cast<double>(instance.cost[s])) / 0.3;
    const double expected =
        static_cast<double>(x[i]) * static_cast<double>(y[j]) * std::exp(exponent);
    CHECK(static_cast<double>(plan[s]) == doctest::Approx(expected).epsilon(1e-6));
    if (x[i] == 0 || y[j] == 0) CHECK(plan[s] == 0);
  }
}

TEST_CASE("no exponent makes a product with zero NaN") {
  const std::vector<double> cost{-1e308, 1e308}, potential{0, 0}, eps{1e-300}, weight{0, 1};
  std::vector<double> plan(2);
  const kantorch::GibbsProblem<double> problem{
      {cost.data(), 1, 1, 2, 2, 2, {}}, {potential.data(), 1}, {potential.data(), 2},
      {weight.data() + 1, 1},           {weight.data(), 2},    eps.data()};
  auto workspace = scratch(gibbs_workspace(problem, 1));
  CHECK(kantorch::gibbs(problem, plan.data(), workspace.data(), Cpu{}) == Outcome::done);
  CHECK(plan[0] == 0);
  CHECK(plan[1] == 0);
}
