// Sinkhorn's kernels against the definition of what they compute, in every size that has a kernel of its own.
#include <doctest/doctest.h>

#include <cstdlib>
#include <limits>
#include <string>

#include "cuda/schedules.hpp"
#include "scaling_problem.hpp"

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

// The tiles of one, two and four warps, filled and not, and what is on no chip: solved by one block, by several, and in
// chunks of many rows.
constexpr Shape shapes[] = {{1, 1},  {5, 7},   {32, 32},  {33, 20},
                            {66, 9}, {2, 130}, {40, 140}, {1030, 3}};

template <class T>
Solution solve_on_cuda(const Instance<T>& instance, double eps, double tol, Index max_iter,
                       const Solution* init = nullptr) {
  const Index n = instance.n, m = instance.m;
  const std::vector<double> strengths(at(instance.batch), eps);
  ScalingProblem<T> problem;
  problem.cost = {instance.cost.data(), instance.batch, n, m, n * m, m, {}};
  problem.a = {instance.a.data(), n};
  problem.b = {instance.b.data(), m};
  problem.strength = strengths.data();
  if (init != nullptr) {
    problem.f_init = {init->f.data(), n};
    problem.g_init = {init->g.data(), m};
  }
  problem.tol = tol;
  problem.max_iter = max_iter;
  Solution solution(instance.batch, n, m);
  auto workspace = scratch(sinkhorn_workspace(problem, Cuda{}));
  sinkhorn(problem, solution.view(), workspace.data(), Cuda{});
  return solution;
}

// exp((f + g) / eps) after some iterations of the definition, as sums of the two potentials.
template <class T>
std::vector<double> reference(const Instance<T>& instance, double eps, Index iterations) {
  const Index n = instance.n, m = instance.m;
  std::vector<double> f(at(n)), g(at(m)), terms;
  const auto entry = [&](Index i, Index j) {
    return static_cast<double>(instance.cost[at(i * m + j)]) / eps;
  };
  double mass = 0;
  for (Index j = 0; j < m; ++j) mass += static_cast<double>(instance.b[at(j)]);
  for (Index t = 0; t < iterations; ++t) {
    for (Index i = 0; i < n; ++i) {
      terms.clear();
      for (Index j = 0; j < m; ++j)
        terms.push_back(std::log(static_cast<double>(instance.b[at(j)])) + g[at(j)] - entry(i, j));
      f[at(i)] = -log_sum_exp(terms);
    }
    for (Index j = 0; j < m; ++j) {
      terms.clear();
      for (Index i = 0; i < n; ++i)
        terms.push_back(std::log(static_cast<double>(instance.a[at(i)])) + f[at(i)] - entry(i, j));
      g[at(j)] = -log_sum_exp(terms);
    }
  }
  std::vector<double> sums(at(n * m));
  for (Index i = 0; i < n; ++i)
    for (Index j = 0; j < m; ++j) sums[at(i * m + j)] = eps * (f[at(i)] + g[at(j)]);
  return sums;
}

template <class T>
std::vector<double> sums_of(const Instance<T>& instance, const Solution& solution) {
  std::vector<double> sums(at(instance.n * instance.m));
  for (Index i = 0; i < instance.n; ++i)
    for (Index j = 0; j < instance.m; ++j)
      sums[at(i * instance.m + j)] = solution.f[at(i)] + solution.g[at(j)];
  return sums;
}

template <class T>
double marginal_error(const Instance<T>& instance, const Solution& solution, Index k = 0) {
  const Index n = instance.n, m = instance.m;
  const std::vector<double> plan = plan_of(instance, solution, k);
  double error = 0, mass = 0;
  for (Index i = 0; i < n; ++i) {
    double sum = 0;
    for (Index j = 0; j < m; ++j) sum += plan[at(i * m + j)];
    error += std::abs(sum - static_cast<double>(instance.a[at(k * n + i)]));
    mass += static_cast<double>(instance.a[at(k * n + i)]);
  }
  for (Index j = 0; j < m; ++j) {
    double sum = 0;
    for (Index i = 0; i < n; ++i) sum += plan[at(i * m + j)];
    error += std::abs(sum - static_cast<double>(instance.b[at(k * m + j)]));
  }
  return error / mass;
}

}  // namespace

TEST_CASE_TEMPLATE("fixed iterations on CUDA are the plain ones", T, float, double) {
  for (const auto& [n, m] : shapes) {
    CAPTURE(n);
    CAPTURE(m);
    Instance<T> instance(1, n, m);
    if (n > 4) instance.a[1] = 0;
    if (m > 4) instance.b[3] = 0;
    instance.rescale();
    // At the smaller eps the scalings leave their range on the way.
    for (const double eps : {0.3, 0.004}) {
      const Solution solution = solve_on_cuda(instance, eps, 0, 3);
      const double allowed = sizeof(T) == sizeof(float) ? 1e-6 : 1e-13;
      CHECK(largest_difference(sums_of(instance, solution), reference(instance, eps, 3)) < allowed);
      CHECK(solution.status[0] == static_cast<int>(Status::fixed_iterations));
      CHECK(solution.n_iter[0] == 3);
      CHECK(solution.marginal_error[0] ==
            doctest::Approx(marginal_error(instance, solution)).epsilon(1e-3));
    }
  }
}

TEST_CASE_TEMPLATE("a tolerance is reached on CUDA, and what is returned shows it", T, float,
                   double) {
  for (const auto& [n, m] : shapes) {
    if (n > 1000) continue;  // takes long with a fiber for every lane
    const Instance<T> instance(2, n, m);
    for (const double eps : {0.05}) {
      const double tol = sizeof(T) == sizeof(float) ? 1e-5 : 1e-9;
      const Solution solution = solve_on_cuda(instance, eps, tol, 10000);
      for (Index k = 0; k < 2; ++k) {
        CHECK(solution.status[at(k)] == static_cast<int>(Status::converged));
        CHECK(solution.marginal_error[at(k)] <= tol);
        CHECK(marginal_error(instance, solution, k) <= 1.1 * tol + 1e-13);
      }
      const Solution again = solve_on_cuda(instance, eps, tol, 10000, &solution);
      CHECK(again.n_iter[0] <= 2);
    }
  }
}

TEST_CASE_TEMPLATE("slow problems on CUDA are finished by Newton's method, and others left alone",
                   T, float, double) {
  for (const auto& [n, m] : {Shape{6, 7}, Shape{15, 12}}) {
    Instance<T> instance(3, n, m);
    for (Index k = 0; k < n * m; ++k) instance.cost[at(n * m + k)] *= T(1e-4);  // an easy one
    const double eps = 1e-4, tol = sizeof(T) == sizeof(float) ? 1e-5 : 1e-9;
    const Solution solution = solve_on_cuda(instance, eps, tol, 1000000);
    Instance<T> easy(1, n, m);
    for (Index i = 0; i < n; ++i) easy.a[at(i)] = instance.a[at(n + i)];
    for (Index j = 0; j < m; ++j) easy.b[at(j)] = instance.b[at(m + j)];
    for (Index k = 0; k < n * m; ++k) easy.cost[at(k)] = instance.cost[at(n * m + k)];
    const Solution alone = solve_on_cuda(easy, eps, tol, 1000000);
    CHECK(solution.value[1] == alone.value[0]);
    CHECK(solution.n_iter[1] == alone.n_iter[0]);
    CHECK(solution.n_iter[1] < 100);
    for (Index k = 0; k < 3; ++k) {
      CHECK(solution.status[at(k)] == static_cast<int>(Status::converged));
      CHECK(solution.n_iter[at(k)] < 4000);
      CHECK(marginal_error(instance, solution, k) <= 1.1 * tol + 1e-13);
    }
  }
}

TEST_CASE("bad values on CUDA end their own problem only") {
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  const Instance<double> good(5, 6, 40);
  Instance<double> bad = good;
  bad.cost[3] = nan;
  bad.a[at(6 + 2)] = -1;
  bad.b[at(2 * 40)] = nan;
  bad.a[at(3 * 6)] += 1;
  const Solution want = solve_on_cuda(good, 0.1, 1e-8, 1000),
                 got = solve_on_cuda(bad, 0.1, 1e-8, 1000);
  for (Index k = 0; k < 4; ++k) {
    CHECK(got.status[at(k)] == static_cast<int>(Status::bad_input));
    CHECK(std::isnan(got.value[at(k)]));
    CHECK(std::isnan(got.f[at(k * 6 + 5)]));
    CHECK(std::isnan(got.col_sum[at(k * 40 + 39)]));
  }
  CHECK(got.status[4] == static_cast<int>(Status::converged));
  CHECK(got.value[4] == want.value[4]);
}

TEST_CASE("without mass the plan is 0") {
  Instance<float> instance(1, 6, 5);
  instance.a.assign(6, 0);
  instance.b.assign(5, 0);
  const Solution solution = solve_on_cuda(instance, 0.1, 1e-5, 10);
  CHECK(solution.status[0] == static_cast<int>(Status::converged));
  CHECK(solution.value[0] == 0);
  CHECK(solution.n_iter[0] == 0);
}

TEST_CASE_TEMPLATE("no bit of an answer depends on the order of the lanes", T, float, double) {
  const Schedule before = host_schedule();
  for (const auto& [n, m] : {Shape{20, 31}, Shape{66, 9}}) {
    const Instance<T> instance(2, n, m);
    host_schedule() = schedules[0];
    const Solution want = solve_on_cuda(instance, 0.01, 1e-5, 40);
    for (const Schedule& schedule : schedules) {
      host_schedule() = schedule;
      const Solution got = solve_on_cuda(instance, 0.01, 1e-5, 40);
      CHECK(got.f == want.f);
      CHECK(got.row_sum == want.row_sum);
      CHECK(got.value == want.value);
      CHECK(got.n_iter == want.n_iter);
    }
  }
  host_schedule() = before;
}
