#include "core/sinkhorn.hpp"

#include <algorithm>

#include "cpu/scaling/result.hpp"
#include "cpu/scaling/solver.hpp"
#include "cpu/scaling/weights.hpp"
#include "cpu/sinkhorn/convergence.hpp"
#include "cpu/sinkhorn/large_reg.hpp"
#include "cpu/sinkhorn/scaling_form.hpp"

namespace kantorch::cpu {
namespace {

// The scratch of one problem at a time. Newton's matrix and the kernel are never needed at once.
template <class T, class Form>
struct Workspace {
  static constexpr bool stored = Form::second_order;

  Workspace(Arena& arena, const ScalingProblem<T>& problem) noexcept
      : Workspace(arena, problem.cost.rows, problem.cost.cols, problem.cost.points.dims,
                  !(problem.tol > 0)) {}

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

template <class T>
struct Sinkhorn {
  using Stored = ScalingForm<T>;
  using Streamed = LogForm<T>;
  template <class Form>
  using Workspace = cpu::Workspace<T, Form>;

  template <class Form, class Cost>
  static bool solve(const ScalingProblem<T>& problem, Index k, const Cost& cost,
                    const ScalingResult& result, Arena& arena, const Cpu& exec) noexcept;

 private:
  template <class Form>
  static bool solve_at(const ScalingProblem<T>& problem, Index k, const Normalised& normal,
                       Workspace<Form>& work, const ScalingResult& result) noexcept;
};

template <class T>
template <class Form, class Cost>
bool Sinkhorn<T>::solve(const ScalingProblem<T>& problem, Index k, const Cost& cost,
                        const ScalingResult& result, Arena& arena, const Cpu& exec) noexcept {
  const Index n = problem.cost.rows, m = problem.cost.cols;
  const bool fixed = !(problem.tol > 0);
  Workspace<Form> work(arena, problem);
  const double mass = normalise(problem.a[k], n, work.a),
               mass_b = normalise(problem.b[k], m, work.b);
  Normalised normal{n, m, work.a, work.b, mass, mass_b, problem.strength[k]};
  if (!(mass > 0 && mass_b > 0)) {
    write_empty_result(normal, k, result);
    result.status[k] =
        static_cast<std::int32_t>(fixed ? Status::fixed_iterations : Status::converged);
    result.n_iter[k] = fixed ? problem.max_iter : 0;
    return true;
  }

  work.passes.bind(cost, work.a, work.b, exec);
  for (double reg = normal.eps, next;; reg = next) {
    normal.eps = reg;
    if (!solve_at(problem, k, normal, work, result) ||
        !raise_strength(normal, work.passes, reg, k, result, &next))
      return false;
    if (!(next > 0)) break;
  }
  if (normal.eps > problem.strength[k])
    result.status[k] = static_cast<std::int32_t>(Status::precision_limit);
  return true;
}

// At the regularization of `normal`.
template <class T>
template <class Form>
bool Sinkhorn<T>::solve_at(const ScalingProblem<T>& problem, Index k, const Normalised& normal,
                           Workspace<Form>& work, const ScalingResult& result) noexcept {
  const double rate = rate_of(normal.eps);
  const bool warm = problem.g_init.data != nullptr;
  work.passes.set_rate(rate);
  std::fill_n(work.f, normal.n, 0.0);
  for (Index j = 0; j < normal.m; ++j) work.g[j] = warm ? to_units(problem.g_init[k][j], rate) : 0;
  LargeReg<T> large(normal, work.passes, work.f, work.g);
  bool is_large;
  if (!large.fits(&is_large)) return false;
  if (is_large) return large.solve(problem.tol, problem.max_iter, k, result);
  if (problem.tol > 0)
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

}  // namespace
}  // namespace kantorch::cpu

namespace kantorch {

template <class T>
Index sinkhorn_workspace(const ScalingProblem<T>& problem, int threads) noexcept {
  return cpu::scaling_workspace<cpu::Sinkhorn<T>>(problem, threads);
}

template <class T>
Outcome sinkhorn(const ScalingProblem<T>& problem, const ScalingResult& result, void* workspace,
                 const Cpu& exec) noexcept {
  return cpu::solve_scaling<cpu::Sinkhorn<T>>(problem, result, workspace, exec);
}

template Index sinkhorn_workspace(const ScalingProblem<float>&, int) noexcept;
template Index sinkhorn_workspace(const ScalingProblem<double>&, int) noexcept;
template Outcome sinkhorn(const ScalingProblem<float>&, const ScalingResult&, void*,
                          const Cpu&) noexcept;
template Outcome sinkhorn(const ScalingProblem<double>&, const ScalingResult&, void*,
                          const Cpu&) noexcept;

}  // namespace kantorch
