#include <doctest/doctest.h>

#include "cuda/schedules.hpp"
#include "implicit_residual.hpp"

using namespace scaling_test;
using kantorch::Cuda;
using kantorch::ImplicitProblem;
using kantorch::ScalingProblem;
using kantorch::cuda::host_schedule;
using kantorch::cuda::Schedule;

namespace {

Solution solve_on_cuda(const Instance<double>& instance, double eps, double tol) {
  const Index n = instance.n, m = instance.m;
  const std::vector<double> strengths(at(instance.batch), eps);
  ScalingProblem<double> problem;
  problem.cost = {instance.cost.data(), instance.batch, n, m, n * m, m, {}};
  problem.a = {instance.a.data(), n};
  problem.b = {instance.b.data(), m};
  problem.strength = strengths.data();
  problem.tol = tol;
  problem.max_iter = 100000;
  Solution solution(instance.batch, n, m);
  auto workspace = scratch(sinkhorn_workspace(problem, Cuda{}));
  sinkhorn(problem, solution.view(), workspace.data(), Cuda{});
  return solution;
}

struct RightHandSide {
  std::vector<double> x, y;

  RightHandSide(Index n, Index m) : x(at(n)), y(at(m)) {
    for (Index i = 0; i < n; ++i) x[at(i)] = std::sin(static_cast<double>(3 * i + 1));
    for (Index j = 0; j < m; ++j) y[at(j)] = std::cos(static_cast<double>(5 * j));
  }
};

struct Implicit {
  std::vector<double> lambda, mu;
};

Implicit implicit_on_cuda(const Instance<double>& instance, const Solution& solution,
                          const RightHandSide& rhs, bool transposed) {
  const Index n = instance.n, m = instance.m;
  const ImplicitProblem<double> problem{{instance.cost.data(), 1, n, m, n * m, m, {}},
                                        {solution.f.data(), n},
                                        {solution.g.data(), m},
                                        {instance.a.data(), n},
                                        {instance.b.data(), m},
                                        solution.eps.data(),
                                        {rhs.x.data(), n},
                                        {rhs.y.data(), m},
                                        transposed};
  Implicit out{std::vector<double>(at(n)), std::vector<double>(at(m))};
  auto workspace = scratch(implicit_workspace(problem, Cuda{}));
  implicit(problem, out.lambda.data(), out.mu.data(), workspace.data(), Cuda{});
  return out;
}

}  // namespace

TEST_CASE("the implicit solve on CUDA satisfies its equations, at points without mass too") {
  for (const auto& [n, m] : {std::pair<Index, Index>{1, 1}, {5, 9}, {9, 5}, {40, 50}, {68, 66}}) {
    CAPTURE(n);
    CAPTURE(m);
    Instance<double> instance(1, n, m);
    if (n > 2) instance.a[1] = 0;
    if (m > 2) instance.b[2] = 0;
    instance.rescale();
    const Solution solution = solve_on_cuda(instance, 0.2, 1e-12);
    const RightHandSide rhs(n, m);
    for (const bool transposed : {true, false}) {
      const Implicit got = implicit_on_cuda(instance, solution, rhs, transposed);
      CHECK(residual(instance, solution, rhs.x, rhs.y, transposed, got.lambda, got.mu) < 1e-9);
    }
  }
}

TEST_CASE("no bit of an implicit solve depends on the order of the lanes") {
  const Schedule before = host_schedule();
  const Instance<double> instance(1, 35, 37);
  const Solution solution = solve_on_cuda(instance, 0.2, 1e-9);
  const RightHandSide rhs(35, 37);
  host_schedule() = schedules[0];
  const Implicit want = implicit_on_cuda(instance, solution, rhs, true);
  for (const Schedule& schedule : schedules) {
    host_schedule() = schedule;
    const Implicit got = implicit_on_cuda(instance, solution, rhs, true);
    CHECK(got.lambda == want.lambda);
    CHECK(got.mu == want.mu);
  }
  host_schedule() = before;
}
