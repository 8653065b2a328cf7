#include <doctest/doctest.h>

#include "cpu/simd/level.hpp"
#include "scaling_problem.hpp"

using namespace scaling_test;
using kantorch::Status;

namespace {

// The plan after `iterations` of the textbook log-domain iteration.
template <class T>
std::vector<double> reference(const Instance<T>& instance, double eps, Index iterations) {
  const Index n = instance.n, m = instance.m;
  std::vector<double> f(at(n)), g(at(m)), terms;
  const auto c = [&](Index i, Index j) {
    return static_cast<double>(instance.cost[at(i * m + j)]) / eps;
  };
  for (Index t = 0; t < iterations; ++t) {
    for (Index i = 0; i < n; ++i) {
      terms.clear();
      for (Index j = 0; j < m; ++j)
        terms.push_back(std::log(static_cast<double>(instance.b[at(j)])) + g[at(j)] - c(i, j));
      f[at(i)] = -log_sum_exp(terms);
    }
    for (Index j = 0; j < m; ++j) {
      terms.clear();
      for (Index i = 0; i < n; ++i)
        terms.push_back(std::log(static_cast<double>(instance.a[at(i)])) + f[at(i)] - c(i, j));
      g[at(j)] = -log_sum_exp(terms);
    }
  }
  std::vector<double> plan(at(n * m));
  for (Index i = 0; i < n; ++i) {
    for (Index j = 0; j < m; ++j) {
      const double weight =
          static_cast<double>(instance.a[at(i)]) * static_cast<double>(instance.b[at(j)]);
      plan[at(i * m + j)] = weight > 0 ? weight * std::exp(f[at(i)] + g[at(j)] - c(i, j)) : 0;
    }
  }
  return plan;
}

template <class T>
Instance<T> with_awkward_weights(Index n, Index m) {
  Instance<T> instance(1, n, m);
  if (n > 4) {
    instance.a[1] = 0;
    instance.a[2] = T(1e-30);
  }
  if (m > 4) {
    instance.b[0] = 0;
    instance.b[3] = T(1e-30);
  }
  instance.rescale();
  return instance;
}

}  // namespace

TEST_CASE_TEMPLATE("a fixed number of iterations gives the textbook iterate", T, float, double) {
  for (const auto& [n, m] :
       {std::pair<Index, Index>{1, 1}, {1, 7}, {7, 1}, {5, 9}, {67, 33}, {40, 130}}) {
    const auto instance = with_awkward_weights<T>(n, m);
    for (const double eps : {1e6, 1.0, 0.1, 0.003}) {
      for (const Index iterations : {1, 2, 3, 40}) {
        const auto solution = solve_sinkhorn(instance, eps, {0, iterations});
        CHECK(solution.status[0] == static_cast<int>(Status::fixed_iterations));
        CHECK(solution.n_iter[0] == iterations);
        // In float the kernel and the scalings are rounded to 6e-8.
        const double tolerance = std::is_same_v<T, float> ? 2e-5 : 1e-11;
        CHECK(largest_difference(plan_of(instance, solution),
                                 reference(instance, eps, iterations)) < tolerance);
      }
    }
  }
}

TEST_CASE_TEMPLATE("the sums and values are those of the plan", T, float, double) {
  const auto instance = with_awkward_weights<T>(30, 41);
  const double eps = 0.05;
  const auto solution = solve_sinkhorn(instance, eps, {0, 20});
  const auto plan = plan_of(instance, solution);
  double linear = 0, entropy = 0, error = 0, mass = 0, sum_f = 0, sum_g = 0;
  for (Index i = 0; i < 30; ++i) {
    double row = 0;
    for (Index j = 0; j < 41; ++j) {
      const double p = plan[at(i * 41 + j)];
      const double weight =
          static_cast<double>(instance.a[at(i)]) * static_cast<double>(instance.b[at(j)]);
      row += p;
      linear += p * static_cast<double>(instance.cost[at(i * 41 + j)]);
      if (p > 0) entropy += p * std::log(p / weight);
    }
    CHECK(solution.row_sum[at(i)] == doctest::Approx(row).epsilon(1e-12));
    error += std::abs(row - static_cast<double>(instance.a[at(i)]));
    mass += static_cast<double>(instance.a[at(i)]);
    if (instance.a[at(i)] > 0) sum_f += solution.f[at(i)];
  }
  for (Index j = 0; j < 41; ++j) {
    double col = 0;
    for (Index i = 0; i < 30; ++i) col += plan[at(i * 41 + j)];
    CHECK(solution.col_sum[at(j)] == doctest::Approx(col).epsilon(1e-12));
    error += std::abs(col - static_cast<double>(instance.b[at(j)]));
    if (instance.b[at(j)] > 0) sum_g += solution.g[at(j)];
  }
  CHECK(solution.marginal_error[0] == doctest::Approx(error / mass).epsilon(1e-5));
  CHECK(solution.value_linear[0] == doctest::Approx(linear).epsilon(1e-12));
  CHECK(solution.value[0] == doctest::Approx(linear + eps * entropy).epsilon(1e-2));
  CHECK(sum_f == doctest::Approx(sum_g).epsilon(1e-12));

  const auto converged =
      solve_sinkhorn(instance, eps, {std::is_same_v<T, float> ? 1e-6 : 1e-10, 10000});
  CHECK(converged.status[0] == static_cast<int>(Status::converged));
  const auto optimal = plan_of(instance, converged);
  double objective = 0;
  for (std::size_t s = 0; s < optimal.size(); ++s) {
    const double weight =
        static_cast<double>(instance.a[s / 41]) * static_cast<double>(instance.b[s % 41]);
    if (optimal[s] > 0)
      objective += optimal[s] *
                   (static_cast<double>(instance.cost[s]) + eps * std::log(optimal[s] / weight));
  }
  CHECK(converged.value[0] == doctest::Approx(objective).epsilon(1e-6));
}

TEST_CASE_TEMPLATE("the answer depends on neither the threads nor the batch", T, float, double) {
  for (const double tol : {0.0, 1e-5}) {
    const Instance<T> batch(5, 150, 90, 7);
    const auto together = solve_sinkhorn(batch, 0.01, {tol, 60, Cpu{3}});
    for (Index k = 0; k < 5; ++k) {
      Instance<T> alone(1, 150, 90);
      alone.cost.assign(batch.cost.begin() + k * 150 * 90, batch.cost.begin() + (k + 1) * 150 * 90);
      alone.a.assign(batch.a.begin() + k * 150, batch.a.begin() + (k + 1) * 150);
      alone.b.assign(batch.b.begin() + k * 90, batch.b.begin() + (k + 1) * 90);
      for (const int threads : {1, 2, 5}) {
        const auto solution = solve_sinkhorn(alone, 0.01, {tol, 60, Cpu{threads}});
        CHECK(std::equal(solution.f.begin(), solution.f.end(), together.f.begin() + k * 150));
        CHECK(std::equal(solution.g.begin(), solution.g.end(), together.g.begin() + k * 90));
        CHECK(solution.value[0] == together.value[at(k)]);
      }
    }
  }
}

TEST_CASE_TEMPLATE("a power of two in cost and eps changes nothing", T, float, double) {
  const Instance<T> instance(1, 30, 20);
  auto scaled = instance;
  const int exponent = std::is_same_v<T, float> ? 90 : 900;
  for (const int power : {-exponent, exponent}) {
    for (std::size_t s = 0; s < scaled.cost.size(); ++s)
      scaled.cost[s] = std::ldexp(instance.cost[s], power);
    for (const double tol : {0.0, 1e-5}) {
      const auto expected = solve_sinkhorn(instance, 0.02, {tol, 200});
      const auto solution = solve_sinkhorn(scaled, std::ldexp(0.02, power), {tol, 200});
      CHECK(solution.row_sum == expected.row_sum);
      CHECK(solution.n_iter == expected.n_iter);
      CHECK(std::ldexp(solution.f[3], -power) == expected.f[3]);
    }
  }
}

TEST_CASE_TEMPLATE("nothing is ever NaN or infinite", T, float, double) {
  Instance<T> instance(1, 6, 5);
  for (const double scale : {1e-300, 1.0, 1e300}) {
    for (const double eps : {5e-324, 1e-300, 1e-20, 1.0, 1e20, 1e300}) {
      for (std::size_t s = 0; s < instance.cost.size(); ++s) {
        instance.cost[s] = static_cast<T>(
            std::fmin(scale, std::is_same_v<T, float> ? 1e38 : 1e300) * (s % 7 == 0 ? -1 : 1));
      }
      for (const double tol : {0.0, 1e-6}) {
        const auto solution = solve_sinkhorn(instance, eps, {tol, 50});
        for (const double x : solution.f) CHECK(std::isfinite(x));
        for (const double x : solution.g) CHECK(std::isfinite(x));
        for (const double x : solution.row_sum) CHECK(std::isfinite(x));
        CHECK_FALSE(std::isnan(solution.value[0]));
      }
    }
  }
}

TEST_CASE("no mass gives a zero plan") {
  Instance<double> instance(1, 3, 4);
  instance.a.assign(3, 0);
  instance.b.assign(4, 0);
  const auto solution = solve_sinkhorn(instance, 1.0, {1e-8, 10});
  CHECK(solution.status[0] == static_cast<int>(Status::converged));
  CHECK(solution.value[0] == 0);
  CHECK(solution.f == std::vector<double>(3));
}

TEST_CASE("a stop is obeyed") {
  const Instance<float> instance(1, 400, 400);
  Options options{0, 1 << 20, Cpu{2, [](void*) noexcept { return true; }, nullptr}};
  CHECK(solve_sinkhorn(instance, 0.1, options).outcome == Outcome::interrupted);
}

TEST_CASE("every SIMD level gives the same plan up to rounding") {
  using kantorch::cpu::Level;
  const Instance<float> instance(1, 50, 77);
  const Level best = kantorch::cpu::level();
  const auto expected = plan_of(instance, solve_sinkhorn(instance, 0.01));
  for (const Level level : {Level::baseline, Level::avx2, Level::avx512}) {
    if (!kantorch::cpu::force_level(level)) continue;
    CHECK(largest_difference(plan_of(instance, solve_sinkhorn(instance, 0.01)), expected) < 1e-6);
  }
  kantorch::cpu::force_level(best);
}

TEST_CASE_TEMPLATE("slow problems reach their tolerance", T, float, double) {
  const double tol = std::is_same_v<T, float> ? 1e-5 : 1e-10;
  for (const double eps : {1e-2, 1e-3, 1e-4}) {
    Instance<T> assignment(1, 60, 60);
    assignment.a.assign(60, T(1));
    assignment.b.assign(60, T(1));
    Instance<T> ties(1, 70, 50, 1);
    for (T& c : ties.cost) c = std::floor(c * T(6)) / T(6);
    Instance<T> grid(1, 64, 64, 2);
    for (Index s = 0; s < 64 * 64; ++s) {
      const Index row = s / 64, col = s % 64;
      const Index dx = row / 8 - col / 8, dy = row % 8 - col % 8;
      grid.cost[at(s)] = static_cast<T>(dx * dx + dy * dy) / T(98);
    }
    auto awkward = with_awkward_weights<T>(80, 30);
    for (const auto& instance : {assignment, ties, grid, awkward}) {
      const auto solution = solve_sinkhorn(instance, eps, {tol, 10000, Cpu{2}});
      CHECK(solution.status[0] == static_cast<int>(Status::converged));
      CHECK(solution.marginal_error[0] <= tol);
      CHECK(solution.n_iter[0] < 2000);
    }
  }
}

TEST_CASE("a misleading start and an impossible tolerance end") {
  const Instance<double> instance(1, 40, 40);
  Solution start(1, 40, 40);
  for (Index j = 0; j < 40; ++j) start.g[at(j)] = 1e3 * std::sin(static_cast<double>(7 * j));
  const auto misled = solve_sinkhorn(instance, 1e-4, {1e-9, 10000, Cpu{}, &start});
  CHECK(misled.status[0] == static_cast<int>(Status::converged));
  const auto impossible = solve_sinkhorn(instance, 1e-2, {1e-30, 10000});
  CHECK(impossible.status[0] == static_cast<int>(Status::precision_limit));
  CHECK(impossible.marginal_error[0] < 1e-12);
  const auto hurried = solve_sinkhorn(instance, 1e-4, {1e-9, 3});
  CHECK(hurried.status[0] == static_cast<int>(Status::max_iterations));
  CHECK(hurried.n_iter[0] == 3);
}
