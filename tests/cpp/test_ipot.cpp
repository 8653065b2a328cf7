#include <doctest/doctest.h>

#include "scaling_problem.hpp"

using namespace scaling_test;
using kantorch::Status;

namespace {

// The published algorithm, multiplications of positive numbers throughout, on the points with mass.
std::vector<double> reference(const Instance<double>& instance, double beta, Index steps) {
  const Index n = instance.n, m = instance.m;
  std::vector<double> plan(at(n * m), 1.0), q(at(n * m)), a(at(n)),
      b(at(m), 1.0 / static_cast<double>(m));
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

template <class T>
Instance<T> converted(const Instance<double>& from) {
  Instance<T> instance(from.batch, from.n, from.m);
  instance.cost.assign(from.cost.begin(), from.cost.end());
  instance.a.assign(from.a.begin(), from.a.end());
  instance.b.assign(from.b.begin(), from.b.end());
  return instance;
}

}  // namespace

TEST_CASE_TEMPLATE("every step count gives the published iterate", T, float, double) {
  for (const auto& [n, m] : {std::pair<Index, Index>{1, 4}, {4, 1}, {6, 9}, {70, 37}}) {
    Instance<double> exact(1, n, m);
    if (n > 4) exact.a[2] = 0;
    if (m > 4) exact.b[1] = 0;
    exact.rescale();
    // The reference sees the numbers that the solver sees.
    const auto instance = converted<T>(exact);
    for (std::size_t s = 0; s < exact.cost.size(); ++s)
      exact.cost[s] = static_cast<double>(instance.cost[s]);
    for (std::size_t s = 0; s < exact.a.size(); ++s)
      exact.a[s] = static_cast<double>(instance.a[s]);
    for (std::size_t s = 0; s < exact.b.size(); ++s)
      exact.b[s] = static_cast<double>(instance.b[s]);
    for (const Index steps : {1, 2, 3, 10, 50, 200}) {
      const auto solution = solve_ipot(instance, 0.2, {0, steps});
      CHECK(solution.eps[0] == doctest::Approx(0.2 / static_cast<double>(steps)));
      CHECK(solution.n_iter[0] == steps);
      const double tolerance = std::is_same_v<T, float> ? 2e-5 : 1e-10;
      CHECK(largest_difference(plan_of(instance, solution), reference(exact, 0.2, steps)) <
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
