#include <doctest/doctest.h>

#include "ipot_reference.hpp"

using namespace scaling_test;
using kantorch::Status;

TEST_CASE_TEMPLATE("every step count gives the published iterate", T, float, double) {
  for (const auto& [n, m] : {std::pair<Index, Index>{1, 4}, {4, 1}, {6, 9}, {70, 37}}) {
    Instance<double> exact(1, n, m);
    const auto instance = with_massless_points<T>(n, m, &exact);
    for (const Index steps : {1, 2, 3, 10, 50, 200}) {
      const auto solution = solve_ipot(instance, 0.2, {0, steps});
      CHECK(solution.eps[0] == doctest::Approx(0.2 / static_cast<double>(steps)));
      CHECK(solution.n_iter[0] == steps);
      const double tolerance = std::is_same_v<T, float> ? 2e-5 : 1e-10;
      CHECK(largest_difference(plan_of(instance, solution), ipot_reference(exact, 0.2, steps)) <
            tolerance);
      for (const double x : solution.f) CHECK(std::isfinite(x));
      for (const double x : solution.g) CHECK(std::isfinite(x));
    }
  }
}

TEST_CASE_TEMPLATE("rows and columns far from all others are no obstacle", T, float, double) {
  Instance<T> instance(1, 4, 4);
  for (Index s = 0; s < 4; ++s) {
    instance.cost[at(4 + s)] += T(1000);
    instance.cost[at(4 * s + 2)] += T(500);
  }
  const auto solution = solve_ipot(instance, 0.05, {0, 100});
  CHECK(solution.marginal_error[0] < 1e-2);
  for (const double x : solution.g) CHECK(std::isfinite(x));
}

TEST_CASE_TEMPLATE("a tolerance bounds the marginals and the gap", T, float, double) {
  Instance<T> instance(1, 20, 20);
  instance.a.assign(20, T(0.05));
  instance.b.assign(20, T(0.05));
  const auto solution = solve_ipot(instance, 0, {1e-4, 100000, Cpu{2}});
  CHECK(solution.status[0] == static_cast<int>(Status::converged));
  CHECK(solution.marginal_error[0] <= 1e-4);
  CHECK(solution.value[0] == solution.value_linear[0]);
}

TEST_CASE_TEMPLATE("a constant cost converges at once", T, float, double) {
  Instance<T> instance(1, 5, 8);
  instance.cost.assign(40, T(3));
  const auto solution = solve_ipot(instance, 0, {1e-5, 100});
  CHECK(solution.status[0] == static_cast<int>(Status::converged));
  CHECK(solution.eps[0] > 0);
}

TEST_CASE_TEMPLATE("IPOT depends on neither the threads nor the batch", T, float, double) {
  const Instance<T> batch(4, 100, 60, 3);
  const auto together = solve_ipot(batch, 0.01, {0, 70, Cpu{2}});
  for (Index k = 0; k < 4; ++k) {
    Instance<T> alone(1, 100, 60);
    alone.cost.assign(batch.cost.begin() + k * 6000, batch.cost.begin() + (k + 1) * 6000);
    alone.a.assign(batch.a.begin() + k * 100, batch.a.begin() + (k + 1) * 100);
    alone.b.assign(batch.b.begin() + k * 60, batch.b.begin() + (k + 1) * 60);
    for (const int threads : {1, 3}) {
      const auto solution = solve_ipot(alone, 0.01, {0, 70, Cpu{threads}});
      CHECK(std::equal(solution.f.begin(), solution.f.end(), together.f.begin() + k * 100));
      CHECK(std::equal(solution.g.begin(), solution.g.end(), together.g.begin() + k * 60));
    }
  }
}
