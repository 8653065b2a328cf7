#include "core/ipot.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "cpu/ipot/log.hpp"
#include "cpu/ipot/state.hpp"
#include "cpu/scaling/bound.hpp"
#include "cpu/scaling/result.hpp"
#include "cpu/scaling/weights.hpp"

namespace kantorch::cpu {
namespace {

// The scratch of one problem at a time. State is IpotState<T>, on a stored cost, or IpotLog<T>.
template <class T, class State>
struct Workspace {
  static constexpr bool stored = std::is_same_v<State, IpotState<T>>;

  Workspace(Arena& arena, Index n, Index m, Index dims) noexcept
      : a(arena.take<double>(n)),
        b(arena.take<double>(m)),
        f(arena.take<double>(n)),
        g(arena.take<double>(m)),
        price(arena.take<double>(n)),
        scratch(arena.take<double>(dual_value_scratch(n, m))),
        passes(arena, n, m, stored),
        state(make_state(arena, n, m, dims)) {}

  State make_state(Arena& arena, Index n, Index m, [[maybe_unused]] Index dims) noexcept {
    if constexpr (stored) {
      return State(arena, passes, n, m);
    } else {
      return State(arena, passes, n, m, dims);
    }
  }

  double* a;
  double* b;
  double* f;
  double* g;
  double* price;  // F of the step before, then the price of the last step
  double* scratch;
  GibbsPasses<T> passes;
  State state;
};

// Whether rounding keeps the error up: it has not improved for long, and is as small as what the
// potentials, of size `exponent` in units of eps, lose. A large error may rest on a plateau for
// thousands of steps and still fall.
template <class T>
struct Progress {
  double best = 1e300;
  Index since = 0;

  bool stalled(double error, Index t, double exponent) noexcept {
    if (error < 0.95 * best) {
      best = error;
      since = t;
    }
    const double rounding = (sizeof(T) == sizeof(float) ? 1e-5 : 1e-12) + 1e-14 * exponent;
    return t > 1000 && t > 3 * since && error <= rounding;
  }
};

// The best bound from the prices of the last step, beta (F_t - F_{t-1}), and from the potentials.
// Near the end each step moves F by a dual optimum over beta, so the error of the first falls as
// fast as that of the plan, while that of the second, the mean of all steps, falls like 1 / t.
template <class T, class Work>
bool best_bound(const IpotProblem<T>& problem, Index k, Work& work, const double* f,
                double sufficient, const Cpu& exec, double* bound) noexcept {
  *bound = -std::numeric_limits<double>::infinity();
  for (const double* dual : {static_cast<const double*>(work.price), f}) {
    double value;
    if (!dual_value(work.passes.cost_rows(), problem.a[k], problem.b[k], dual, work.scratch, exec,
                    &value))
      return false;
    *bound = std::max(*bound, value);
    if (*bound >= sufficient) break;
  }
  return true;
}

template <class T, class State, class Cost>
bool solve(const IpotProblem<T>& problem, Index k, const Cost& cost, const ScalingResult& result,
           Arena& arena, const Cpu& exec) noexcept {
  const Index n = problem.cost.rows, m = problem.cost.cols;
  Workspace<T, State> work(arena, n, m, problem.cost.points.dims);
  const double mass = normalise(problem.a[k], n, work.a),
               mass_b = normalise(problem.b[k], m, work.b);
  Normalised normal{n, m, work.a, work.b, mass, mass_b, 1};
  const bool fixed = !(problem.tol > 0);
  auto& status = result.status[k];
  auto& n_iter = result.n_iter[k];

  work.passes.bind(cost, work.a, work.b, exec);
  double beta = problem.beta == nullptr ? 0 : problem.beta[k], spread = 0;
  if (!fixed || !(beta > 0)) {
    CostRange range;
    if (!cost_range(work.passes.cost_rows(), work.a, work.b, exec, &range)) return false;
    spread = range.high - range.low;
    if (!(beta > 0)) {
      double mean;
      if (!mean_excess(work.passes.cost_rows(), work.a, work.b, range.low, exec, &mean))
        return false;
      beta = mean > 0 ? 0.1 * mean : 1;  // any beta, if the cost is constant
    }
  }
  if (!(mass > 0 && mass_b > 0)) {
    normal.eps = beta / static_cast<double>(fixed ? problem.max_iter : 1);
    write_empty_result(normal, k, result);
    status = static_cast<std::int32_t>(fixed ? Status::fixed_iterations : Status::converged);
    n_iter = fixed ? problem.max_iter : 0;
    return true;
  }

  if (!work.state.start(cost, work.a, work.b, beta, problem.g_init[k], exec)) return false;
  Progress<T> progress;
  for (Index check = fixed ? problem.max_iter : std::min<Index>(problem.max_iter, 8);;) {
    while (work.state.steps() < check - 1) {
      if (!work.state.step()) return false;
    }
    std::fill_n(work.price, n, 0.0);
    if (!fixed && check > 1) work.state.potentials(work.price, work.g);
    if (!work.state.step()) return false;
    const Index t = n_iter = work.state.steps();
    normal.eps = beta / static_cast<double>(t);
    work.passes.set_rate(rate_of(normal.eps));
    work.state.potentials(work.f, work.g);
    for (Index i = 0; i < n && !fixed; ++i) work.price[i] = beta * (work.f[i] - work.price[i]);
    if (!write_result(normal, work.passes, work.f, work.g, k, result)) return false;
    result.value[k] = result.value_linear[k];
    if (fixed) {
      status = static_cast<std::int32_t>(Status::fixed_iterations);
      return true;
    }
    const double error = result.marginal_error[k];
    double worst = error;  // the larger of the two errors that are compared with tol
    // Where all costs are equal, every plan of these marginals is optimal, and the gap is rounding.
    if (spread > 0 && (error <= problem.tol || t == problem.max_iter)) {
      const double scale = mass * spread, linear = result.value_linear[k];
      double bound;
      if (!best_bound(problem, k, work, result.f + k * n, linear - problem.tol * scale, exec,
                      &bound))
        return false;
      const double gap = linear - bound;
      if (gap > problem.tol * scale) worst = std::max(worst, gap / scale);
      const Index dims = problem.cost.points.dims;
      result.bound[k] = dims > 0 ? below_rounded_distances(bound, problem.a[k], n, dims) : bound;
    }
    const bool reached = worst <= problem.tol;
    if (reached || t == problem.max_iter || progress.stalled(worst, t, spread / normal.eps)) {
      status = static_cast<std::int32_t>(reached                 ? Status::converged
                                         : t == problem.max_iter ? Status::max_iterations
                                                                 : Status::precision_limit);
      return true;
    }
    check = std::min(problem.max_iter, t + std::max<Index>(8, t / 8));
  }
}

template <class T>
bool solve(const IpotProblem<T>& problem, Index k, const ScalingResult& result, void* memory,
           const Cpu& exec) noexcept {
  const Index n = problem.cost.rows, m = problem.cost.cols;
  Arena arena(memory);
  if (!problem.cost.points.given())
    return solve<T, IpotState<T>>(problem, k, problem.cost[k], result, arena, exec);
  if (is_streamed(n, m))
    return solve<T, IpotLog<T>>(problem, k, problem.cost.points[k], result, arena, exec);
  DistanceMatrix<T> distances(arena, n, m);
  return distances.fill(problem.cost.points[k], exec) &&
         solve<T, IpotState<T>>(problem, k, distances.view(), result, arena, exec);
}

template <class T>
Index bytes_per_problem(const IpotProblem<T>& problem) noexcept {
  const Index n = problem.cost.rows, m = problem.cost.cols;
  const bool points = problem.cost.points.given();
  Arena arena(nullptr);
  if (points && is_streamed(n, m)) {
    const Workspace<T, IpotLog<T>> work(arena, n, m, problem.cost.points.dims);
  } else {
    if (points) const DistanceMatrix<T> distances(arena, n, m);
    const Workspace<T, IpotState<T>> work(arena, n, m, 0);
  }
  return arena.bytes();
}

}  // namespace
}  // namespace kantorch::cpu

namespace kantorch {

template <class T>
Index ipot_workspace(const IpotProblem<T>& problem, int threads) noexcept {
  return cpu::workspace_of(problem.cost, cpu::bytes_per_problem(problem), threads);
}

template <class T>
Outcome ipot(const IpotProblem<T>& problem, const ScalingResult& result, void* workspace,
             const Cpu& exec) noexcept {
  return cpu::solve_batch(problem.cost, cpu::bytes_per_problem(problem), workspace, exec,
                          [&](Index k, void* memory, const Cpu& inner) {
                            return cpu::solve(problem, k, result, memory, inner);
                          });
}

template Index ipot_workspace(const IpotProblem<float>&, int) noexcept;
template Index ipot_workspace(const IpotProblem<double>&, int) noexcept;
template Outcome ipot(const IpotProblem<float>&, const ScalingResult&, void*, const Cpu&) noexcept;
template Outcome ipot(const IpotProblem<double>&, const ScalingResult&, void*, const Cpu&) noexcept;

}  // namespace kantorch
