#include "core/sinkhorn.hpp"

#include <algorithm>

#include "cpu/scaling/result.hpp"
#include "cpu/scaling/weights.hpp"
#include "cpu/sinkhorn/convergence.hpp"
#include "cpu/sinkhorn/scaling_form.hpp"

namespace kantorch::cpu {
namespace {

// The scratch of one problem at a time. Newton's matrix and the kernel are never needed at once.
template <class T, class Form>
struct Workspace {
  static constexpr bool stored = Form::second_order;

  Workspace(Arena& arena, Index n, Index m, Index dims, bool fixed) noexcept
      : a(arena.take<double>(n)),
        b(arena.take<double>(m)),
        f(arena.take<double>(n)),
        g(arena.take<double>(m)),
        large(arena.take<char>(stored ? large_bytes(n, m, fixed) : 0)),
        passes(arena, n, m, stored),
        form(make_form(arena, n, m, dims)),
        convergence(arena, passes, form, fixed || !stored ? 0 : n, fixed || !stored ? 0 : m,
                    reinterpret_cast<double*>(large)) {}

  static Index large_bytes(Index n, Index m, bool fixed) noexcept {
    const Index kernel = n * row_stride<T>(m) * static_cast<Index>(sizeof(T));
    const Index matrix =
        Laplacian::weights_for(Schur<T>::size_for(n, m)) * static_cast<Index>(sizeof(double));
    return fixed ? kernel : std::max(kernel, matrix);
  }

  Form make_form(Arena& arena, Index n, Index m, [[maybe_unused]] Index dims) noexcept {
    if constexpr (stored) {
      return Form(arena, passes, n, m, reinterpret_cast<T*>(large));
    } else {
      return Form(arena, passes, n, m, dims);
    }
  }

  double* a;
  double* b;
  double* f;
  double* g;
  char* large;
  GibbsPasses<T> passes;
  Form form;
  SinkhornConvergence<T, Form> convergence;
};

template <class T, class Form, class Cost>
bool solve(const SinkhornProblem<T>& problem, Index k, const Cost& cost,
           const ScalingResult& result, Arena& arena, const Cpu& exec) noexcept {
  const Index n = problem.cost.rows, m = problem.cost.cols;
  const bool fixed = !(problem.tol > 0);
  Workspace<T, Form> work(arena, n, m, problem.cost.points.dims, fixed);
  const double mass = normalise(problem.a[k], n, work.a),
               mass_b = normalise(problem.b[k], m, work.b);
  const Normalised normal{n, m, work.a, work.b, mass, mass_b, problem.eps[k]};
  if (!(mass > 0 && mass_b > 0)) {
    write_empty_result(normal, k, result);
    result.status[k] =
        static_cast<std::int32_t>(fixed ? Status::fixed_iterations : Status::converged);
    result.n_iter[k] = fixed ? problem.max_iter : 0;
    return true;
  }

  const double rate = rate_of(normal.eps);
  const bool warm = problem.g_init.data != nullptr;
  work.passes.bind(cost, work.a, work.b, exec);
  work.passes.set_rate(rate);
  std::fill_n(work.f, n, 0.0);
  for (Index j = 0; j < m; ++j) work.g[j] = warm ? to_units(problem.g_init[k][j], rate) : 0;
  if (!fixed)
    return work.convergence.solve(normal, work.f, work.g, warm, problem.tol, problem.max_iter, k,
                                  result);

  work.form.start(work.a, work.b, work.f, work.g);
  for (Index iteration = 0; iteration < problem.max_iter; ++iteration) {
    if (iteration + 1 == problem.max_iter) work.form.refine();
    double error;
    if (!work.form.step(1, &error)) return false;
  }
  work.form.finish();
  result.n_iter[k] = problem.max_iter;
  bool coarser;
  if (!write_result(normal, work.passes, work.f, work.g, k, result) ||
      !coarsen_result(normal, work.passes, work.f, work.g, k, result, &coarser))
    return false;
  result.status[k] =
      static_cast<std::int32_t>(coarser ? Status::precision_limit : Status::fixed_iterations);
  return true;
}

template <class T>
bool solve(const SinkhornProblem<T>& problem, Index k, const ScalingResult& result, void* memory,
           const Cpu& exec) noexcept {
  const Index n = problem.cost.rows, m = problem.cost.cols;
  Arena arena(memory);
  if (!problem.cost.points.given())
    return solve<T, ScalingForm<T>>(problem, k, problem.cost[k], result, arena, exec);
  if (is_streamed(n, m))
    return solve<T, LogForm<T>>(problem, k, problem.cost.points[k], result, arena, exec);
  DistanceMatrix<T> distances(arena, n, m);
  return distances.fill(problem.cost.points[k], exec) &&
         solve<T, ScalingForm<T>>(problem, k, distances.view(), result, arena, exec);
}

template <class T>
Index bytes_per_problem(const SinkhornProblem<T>& problem) noexcept {
  const Index n = problem.cost.rows, m = problem.cost.cols;
  const bool fixed = !(problem.tol > 0), points = problem.cost.points.given();
  Arena arena(nullptr);
  if (points && is_streamed(n, m)) {
    const Workspace<T, LogForm<T>> work(arena, n, m, problem.cost.points.dims, fixed);
  } else {
    if (points) const DistanceMatrix<T> distances(arena, n, m);
    const Workspace<T, ScalingForm<T>> work(arena, n, m, 0, fixed);
  }
  return arena.bytes();
}

}  // namespace
}  // namespace kantorch::cpu

namespace kantorch {

template <class T>
Index sinkhorn_workspace(const SinkhornProblem<T>& problem, int threads) noexcept {
  return cpu::workspace_of(problem.cost, cpu::bytes_per_problem(problem), threads);
}

template <class T>
Outcome sinkhorn(const SinkhornProblem<T>& problem, const ScalingResult& result, void* workspace,
                 const Cpu& exec) noexcept {
  return cpu::solve_batch(problem.cost, cpu::bytes_per_problem(problem), workspace, exec,
                          [&](Index k, void* memory, const Cpu& inner) {
                            return cpu::solve(problem, k, result, memory, inner);
                          });
}

template Index sinkhorn_workspace(const SinkhornProblem<float>&, int) noexcept;
template Index sinkhorn_workspace(const SinkhornProblem<double>&, int) noexcept;
template Outcome sinkhorn(const SinkhornProblem<float>&, const ScalingResult&, void*,
                          const Cpu&) noexcept;
template Outcome sinkhorn(const SinkhornProblem<double>&, const ScalingResult&, void*,
                          const Cpu&) noexcept;

}  // namespace kantorch
