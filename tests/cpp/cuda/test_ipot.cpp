// IPOT's kernels against the published iteration, in every size that has a kernel of its own.
#include <doctest/doctest.h>

#include <limits>

#include "cuda/schedules.hpp"
#include "ipot_reference.hpp"

using namespace scaling_test;
using kantorch::Cuda;
using kantorch::ScalingProblem;
using kantorch::Status;
using kantorch::cuda::host_schedule;
using kantorch::cuda::Schedule;

namespace {

struct Shape {
  Index n, m;
};

// The tiles of one and two warps, filled and not, and what is on no chip: solved by one block, by several, and in chunks
// of many rows.
constexpr Shape shapes[] = {{1, 1},  {5, 7},   {32, 32},  {33, 20},
                            {66, 9}, {2, 130}, {40, 140}, {1030, 3}};

struct Solver {
  double tol = 0;
  Index max_iter = 1;
  const Solution* init = nullptr;
};

// A beta of 0 is not given.
template <class T>
Solution solve_on_cuda(const Instance<T>& instance, double beta, const Solver& options) {
  const Index n = instance.n, m = instance.m;
  const std::vector<double> strengths(at(instance.batch), beta);
  ScalingProblem<T> problem;
  problem.cost = {instance.cost.data(), instance.batch, n, m, n * m, m, {}};
  problem.a = {instance.a.data(), n};
  problem.b = {instance.b.data(), m};
  problem.strength = beta == 0 ? nullptr : strengths.data();
  if (options.init != nullptr) {
    problem.f_init = {options.init->f.data(), n};
    problem.g_init = {options.init->g.data(), m};
  }
  problem.tol = options.tol;
  problem.max_iter = options.max_iter;
  Solution solution(instance.batch, n, m);
  auto workspace = scratch(ipot_workspace(problem, Cuda{}));
  ipot(problem, solution.view(), workspace.data(), Cuda{});
  return solution;
}

bool is_finite(const Solution& solution) {
  for (const auto* numbers : {&solution.f, &solution.g, &solution.value, &solution.row_sum})
    for (const double x : *numbers)
      if (!std::isfinite(x)) return false;
  return true;
}

}  // namespace

TEST_CASE_TEMPLATE("every step count on CUDA gives the published iterate", T, float, double) {
  for (const auto& [n, m] : shapes) {
    CAPTURE(n);
    CAPTURE(m);
    Instance<double> exact(1, n, m);
    const auto instance = with_massless_points<T>(n, m, &exact);
    for (const Index steps : {1, 2, 3, 12}) {
      if (n > 1000 && steps != 2) continue;  // takes long with a fiber for every lane
      const Solution solution = solve_on_cuda(instance, 0.2, {0, steps});
      const double allowed = sizeof(T) == sizeof(float) ? 2e-6 : 1e-11;
      CHECK(largest_difference(plan_of(instance, solution), ipot_reference(exact, 0.2, steps)) <
            allowed);
      CHECK(solution.eps[0] == doctest::Approx(0.2 / static_cast<double>(steps)));
      CHECK(solution.n_iter[0] == steps);
      CHECK(solution.status[0] == static_cast<int>(Status::fixed_iterations));
      CHECK(is_finite(solution));
    }
  }
}

TEST_CASE_TEMPLATE("on CUDA the power of the kernel is made anew, and nothing shows", T, float,
                   double) {
  Instance<double> exact(1, 6, 5);
  const auto instance = with_massless_points<T>(6, 5, &exact);
  for (const Index steps : {63, 64, 65, 66, 200, 300}) {
    const Solution solution = solve_on_cuda(instance, 0.2, {0, steps});
    const double allowed = sizeof(T) == sizeof(float) ? 2e-5 : 1e-10;
    CHECK(largest_difference(plan_of(instance, solution), ipot_reference(exact, 0.2, steps)) <
          allowed);
  }
}

TEST_CASE_TEMPLATE("on CUDA steps out of range are made in the log domain", T, float, double) {
  Instance<T> instance(1, 9, 12);
  for (Index j = 0; j < 12; ++j) instance.cost[at(12 + j)] += T(1000);
  for (Index i = 0; i < 9; ++i) instance.cost[at(12 * i + 2)] += T(500);
  // As each step for itself, on a problem whose points without mass keep it off the chip.
  Instance<T> padded(1, 70, 12);
  std::copy(instance.cost.begin(), instance.cost.end(), padded.cost.begin());
  padded.b = instance.b;
  padded.a.assign(70, 0);
  std::copy(instance.a.begin(), instance.a.end(), padded.a.begin());
  for (const double beta : {0.05, 0.002}) {
    const Solution solution = solve_on_cuda(instance, beta, {0, 40}),
                   want = solve_on_cuda(padded, beta, {0, 40});
    const auto plan = plan_of(instance, solution);
    auto other = plan_of(padded, want);
    other.resize(plan.size());
    CHECK(largest_difference(plan, other) < 1e-5);
    CHECK(is_finite(solution));
  }
}

TEST_CASE_TEMPLATE("on CUDA a tolerance bounds the marginals and the gap", T, float, double) {
  for (const auto& [n, m] : shapes) {
    if (n > 1000) continue;  // takes long with a fiber for every lane
    CAPTURE(n);
    CAPTURE(m);
    const Instance<T> instance(2, n, m);
    const Solution solution = solve_on_cuda(instance, 0, {1e-2, 1000});
    for (Index k = 0; k < 2; ++k) {
      CHECK(solution.status[at(k)] == static_cast<int>(Status::converged));
      CHECK(solution.marginal_error[at(k)] <= 1e-2);
      CHECK(solution.value[at(k)] == solution.value_linear[at(k)]);
      if (n == 1) continue;  // all plans are optimal
      double mass = 0;
      for (Index i = 0; i < n; ++i) mass += static_cast<double>(instance.a[at(k * n + i)]);
      CHECK(std::abs(solution.value[at(k)] - solution.bound[at(k)]) <= 1e-2 * mass);
    }
    if (n == 1) continue;
    const Solution stopped = solve_on_cuda(instance, 0, {1e-12, 9});
    CHECK(stopped.status[0] == static_cast<int>(Status::max_iterations));
    CHECK(stopped.n_iter[0] == 9);
  }
}

TEST_CASE_TEMPLATE("on CUDA slow problems are left to Newton's method", T, float, double) {
  const double tol = sizeof(T) == sizeof(float) ? 1e-6 : 1e-11;
  const Instance<T> instance(2, 6, 5);
  const Solution solution = solve_on_cuda(instance, 4, {tol, 10000});
  for (Index k = 0; k < 2; ++k) {
    CHECK(solution.status[at(k)] == static_cast<int>(Status::converged));
    CHECK(solution.marginal_error[at(k)] <= tol);
    CHECK(solution.n_iter[at(k)] > 1000);
    CHECK(solution.n_iter[at(k)] < 1200);
  }
}

TEST_CASE_TEMPLATE("on CUDA a warm start is the first scaling of the columns", T, float, double) {
  for (const auto& [n, m] : {Shape{6, 8}, Shape{66, 9}}) {
    Instance<double> exact(1, n, m);
    const auto instance = with_massless_points<T>(n, m, &exact);
    Solution start(1, n, m);
    std::vector<double> scaling;
    for (double& g : start.g) {
      g = 0.1 * static_cast<double>(scaling.size());
      scaling.push_back(std::exp(g / 0.3));
      g += 1e3;  // a constant means nothing
    }
    const Solution solution = solve_on_cuda(instance, 0.3, {0, 7, &start});
    const auto want = ipot_reference(exact, 0.3, 7, scaling);
    const double allowed = sizeof(T) == sizeof(float) ? 2e-6 : 1e-11;
    CHECK(largest_difference(plan_of(instance, solution), want) < allowed);
  }
}

TEST_CASE_TEMPLATE("a constant cost converges at once on CUDA", T, float, double) {
  Instance<T> instance(1, 5, 8);
  instance.cost.assign(40, T(3));
  const Solution solution = solve_on_cuda(instance, 0, {1e-5, 100});
  CHECK(solution.status[0] == static_cast<int>(Status::converged));
  CHECK(solution.n_iter[0] == 8);
}

TEST_CASE("bad values on CUDA end their own problem of IPOT only") {
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  const Instance<double> good(5, 6, 40);
  Instance<double> bad = good;
  bad.cost[3] = nan;
  bad.a[at(6 + 2)] = -1;
  bad.b[at(2 * 40)] = nan;
  bad.a[at(3 * 6)] += 1;
  const Solution want = solve_on_cuda(good, 0.1, {1e-2, 100}),
                 got = solve_on_cuda(bad, 0.1, {1e-2, 100});
  for (Index k = 0; k < 4; ++k) {
    CHECK(got.status[at(k)] == static_cast<int>(Status::bad_input));
    CHECK(std::isnan(got.value[at(k)]));
    CHECK(std::isnan(got.f[at(k * 6 + 5)]));
    CHECK(std::isnan(got.col_sum[at(k * 40 + 39)]));
  }
  CHECK(got.status[4] == static_cast<int>(Status::converged));
  CHECK(got.value[4] == want.value[4]);
  for (const double beta : {-1.0, nan, std::numeric_limits<double>::infinity()})
    CHECK(solve_on_cuda(good, beta, {1e-2, 10}).status[0] == static_cast<int>(Status::bad_input));
}

TEST_CASE("without mass the plan of IPOT is 0 on CUDA") {
  Instance<float> instance(1, 6, 5);
  instance.a.assign(6, 0);
  instance.b.assign(5, 0);
  const Solution solution = solve_on_cuda(instance, 0.1, {1e-5, 10});
  CHECK(solution.status[0] == static_cast<int>(Status::converged));
  CHECK(solution.value[0] == 0);
  CHECK(solution.n_iter[0] == 0);
  CHECK(solve_on_cuda(instance, 0.1, {0, 10}).n_iter[0] == 10);
}

TEST_CASE("at points without mass potentials on CUDA are c-transforms") {
  Instance<double> instance(1, 6, 7);
  instance.a[2] = instance.b[5] = 0;
  instance.rescale();
  const Solution solution = solve_on_cuda(instance, 0.2, {0, 20});
  const double eps = solution.eps[0];
  double of_col = INFINITY, of_row = INFINITY;
  for (std::size_t i = 0; i < 6; ++i) {
    if (i == 2) continue;
    const double f = solution.f[i] + eps * std::log(instance.a[i]);
    of_col = std::fmin(of_col, instance.cost[i * 7 + 5] - f);
  }
  CHECK(solution.g[5] == doctest::Approx(of_col).epsilon(1e-12));
  for (std::size_t j = 0; j < 7; ++j) {
    const double g = solution.g[j] + (j == 5 ? 0 : eps * std::log(instance.b[j]));
    of_row = std::fmin(of_row, instance.cost[2 * 7 + j] - g);
  }
  CHECK(solution.f[2] == doctest::Approx(of_row).epsilon(1e-12));
}

TEST_CASE_TEMPLATE("no bit of an answer of IPOT depends on the order of the lanes", T, float,
                   double) {
  const Schedule before = host_schedule();
  for (const auto& [n, m] : {Shape{20, 31}, Shape{34, 20}, Shape{66, 3}}) {
    Instance<T> instance(1, n, m);
    instance.a[3] = 0;
    instance.rescale();
    host_schedule() = schedules[0];
    const Solution want = solve_on_cuda(instance, 0.01, {1e-3, 10});
    for (const Schedule& schedule : schedules) {
      host_schedule() = schedule;
      const Solution got = solve_on_cuda(instance, 0.01, {1e-3, 10});
      CHECK(got.f == want.f);
      CHECK(got.row_sum == want.row_sum);
      CHECK(got.value == want.value);
      CHECK(got.bound == want.bound);
      CHECK(got.n_iter == want.n_iter);
    }
  }
  host_schedule() = before;
}
