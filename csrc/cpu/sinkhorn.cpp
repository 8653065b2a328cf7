#include "core/sinkhorn.hpp"

#include <algorithm>

#include "cpu/sinkhorn_result.hpp"
#include "cpu/sinkhorn_scaling.hpp"
#include "cpu/weights.hpp"

namespace kantorch::cpu {
namespace {

// The scratch of one problem at a time.
template <class T>
struct Workspace {
  Workspace(Arena& arena, Index n, Index m) noexcept
      : a(arena.take<double>(n)),
        b(arena.take<double>(m)),
        f(arena.take<double>(n)),
        g(arena.take<double>(m)),
        kernel(arena.take<T>(n * m)),
        passes(arena, n, m),
        form(arena, passes, n, m, kernel) {}

  double* a;
  double* b;
  double* f;
  double* g;
  T* kernel;
  GibbsPasses<T> passes;
  ScalingForm<T> form;
};

template <class T>
bool solve(const SinkhornProblem<T>& problem, Index k, const ScalingResult& result, void* memory,
           const Control& control) noexcept {
  const MatrixView<T> cost = problem.cost[k];
  const Index n = cost.rows, m = cost.cols;
  Arena arena(memory);
  Workspace<T> work(arena, n, m);
  const double mass = normalise(problem.a[k], n, work.a),
               mass_b = normalise(problem.b[k], m, work.b);
  const Normalised normal{n, m, work.a, work.b, mass, mass_b, problem.eps[k]};
  const bool fixed = !(problem.tol > 0);
  auto& status = result.status[k];
  auto& n_iter = result.n_iter[k];
  if (!(mass > 0 && mass_b > 0)) {
    write_empty_result(normal, k, result);
    status = static_cast<std::int32_t>(fixed ? Status::fixed_iterations : Status::converged);
    n_iter = fixed ? problem.max_iter : 0;
    return true;
  }

  const double rate = rate_of(normal.eps);
  work.passes.bind(cost, work.a, work.b, control);
  work.passes.set_rate(rate);
  for (Index i = 0; i < n; ++i)
    work.f[i] = problem.f_init.data ? to_units(problem.f_init[k][i], rate) : 0;
  for (Index j = 0; j < m; ++j)
    work.g[j] = problem.g_init.data ? to_units(problem.g_init[k][j], rate) : 0;

  work.form.start(work.a, work.b, work.f, work.g);
  double target = problem.tol;
  for (n_iter = 0;;) {
    double error = 0;
    if (!work.form.step(1, &error)) return false;
    ++n_iter;
    const bool last = n_iter == problem.max_iter;
    if (!last && (fixed || error > target)) continue;
    work.form.finish();
    if (!write_result(normal, work.passes, work.f, work.g, k, result)) return false;
    const bool reached = result.marginal_error[k] <= problem.tol;
    if (last || reached) {
      status = static_cast<std::int32_t>(fixed     ? Status::fixed_iterations
                                         : reached ? Status::converged
                                                   : Status::max_iterations);
      return true;
    }
    target /= 2;
    work.form.start(work.a, work.b, work.f, work.g);
  }
}

template <class T>
Index bytes_per_problem(Index n, Index m) noexcept {
  Arena arena(nullptr);
  Workspace<T> work(arena, n, m);
  return arena.bytes();
}

}  // namespace
}  // namespace kantorch::cpu

namespace kantorch {

template <class T>
Index sinkhorn_workspace(const SinkhornProblem<T>& problem, int threads) noexcept {
  const auto& cost = problem.cost;
  return cpu::slots(cost.batch, cost.rows, cost.cols, threads) *
         cpu::bytes_per_problem<T>(cost.rows, cost.cols);
}

template <class T>
Outcome sinkhorn(const SinkhornProblem<T>& problem, const ScalingResult& result, void* workspace,
                 const Control& control) noexcept {
  const auto& cost = problem.cost;
  const Index slots = cpu::slots(cost.batch, cost.rows, cost.cols, control.threads);
  const Index bytes = cpu::bytes_per_problem<T>(cost.rows, cost.cols);
  const cpu::Session session(control);
  const bool finished = cpu::for_each_problem(
      cost.batch, slots, control, [&](Index k, Index slot, const Control& inner) {
        return cpu::solve(problem, k, result, static_cast<char*>(workspace) + slot * bytes, inner);
      });
  return finished ? Outcome::done : Outcome::interrupted;
}

template Index sinkhorn_workspace(const SinkhornProblem<float>&, int) noexcept;
template Index sinkhorn_workspace(const SinkhornProblem<double>&, int) noexcept;
template Outcome sinkhorn(const SinkhornProblem<float>&, const ScalingResult&, void*,
                          const Control&) noexcept;
template Outcome sinkhorn(const SinkhornProblem<double>&, const ScalingResult&, void*,
                          const Control&) noexcept;

}  // namespace kantorch
