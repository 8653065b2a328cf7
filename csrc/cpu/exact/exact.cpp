#include "core/exact.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <memory>
#include <new>
#include <vector>

#include "common/exact_rules.hpp"
#include "cpu/exact/assignment.hpp"
#include "cpu/exact/basis.hpp"
#include "cpu/exact/instance.hpp"
#include "cpu/exact/plan.hpp"
#include "cpu/exact/refinement.hpp"
#include "cpu/exact/simplex.hpp"
#include "cpu/exact/sinkhorn_start.hpp"
#include "cpu/exact/start.hpp"
#include "cpu/exact/support.hpp"
#include "cpu/runtime/batch.hpp"

namespace kantorch {
namespace {

using namespace cpu::network;
using cpu::parallel_for;

constexpr Index alignment = 64;

// Each brings some 10 digits.
constexpr int most_refinements = 4;

// Of smaller problems the greedy basis is good enough.
constexpr Index least_annealed = 16;

// Longer rows have a shortlist.
constexpr Index longest_searched = 128;

Index slots(Index batch, int threads) noexcept {
  return std::max<Index>(1, std::min<Index>(batch, threads));
}

// A float32 screen for one problem, and behind it, unless memory is what large problems wait for, a
// bfloat16 kernel. A kernel that has no place of its own lies where the screen will be.
constexpr Index large = 1 << 22;  // entries

Index screen_bytes(Index rows, Index cols) noexcept {
  const Index bytes = rows * Screen::padded(cols) * static_cast<Index>(sizeof(float));
  return (bytes + alignment - 1) / alignment * alignment;
}
Index kernel_offset(Index rows, Index cols) noexcept {
  return rows * cols < large ? screen_bytes(rows, cols) : 0;
}
Index slot_bytes(Index rows, Index cols) noexcept {
  return screen_bytes(rows, cols) + kernel_offset(rows, cols) / 2;
}

// What one thread uses for problem after problem.
template <class T>
struct ExactSolver {
  Instance<T> instance;
  Screen screen;
  Shortlist shortlist;
  Tree tree;
  Assignment<T> assignment;
  Support support;
  std::uint32_t* kernel;
  std::vector<T> capped;  // a copy of costs of which some are out of proportion, see `cap_costs`
  double level;           // the dearest of them
  Refinement refinement;
  std::unique_ptr<ExactSolver<double>> finer;  // for its costs

  Outcome solve_one(const ExactProblem<T>& problem, Index k, const double* a, const double* b,
                    const ExactResult& result, const Cpu& exec);

 private:
  template <class>
  friend struct ExactSolver;

  Stop optimize(const double* f_init, const double* g_init, Index max_iter, const Cpu& exec,
                Index& iterations);
  Assigned assign(bool cold, Index limit, const Cpu& exec);
  Stop refine(Index max_iter, const Cpu& exec, Index& iterations);
  double error_bound(const Gap& gap) const noexcept;
  bool cap_costs(const MatrixView<T>& cost, double highest, const Cpu& exec);
};

// The costs that a plan pays, in the unit of the cost, apart from those of points of hardly any
// mass.
struct Paid {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();

  template <class T>
  Paid(const MatrixView<T>& cost, const Answer& answer, double mass) noexcept {
    for (Index slot = 0; slot < cost.rows + cost.cols - 1; ++slot) {
      if (!(answer.plan_mass[slot] > mass * negligible_share)) continue;
      const auto paid = static_cast<double>(cost.row(answer.plan_row[slot])[answer.plan_col[slot]]);
      low = std::min(low, paid);
      high = std::max(high, paid);
    }
  }
  // The scale of the answer.
  double scale() const noexcept { return std::max(std::abs(low), std::abs(high)); }
};

// How far a plan with feasible potentials can be from the optimum, in working units and for a mass
// of 1: its own slack, what `verify` overlooks, and costs that are lost below the range. As every
// plan has the same marginals, what `verify` overlooks is a mean of the potentials, whose sizes
// bring the rounding along.
template <class T>
double ExactSolver<T>::error_bound(const Gap& gap) const noexcept {
  double size = 0, mass = 0;
  for (Index i = 0; i < instance.n(); ++i) {
    mass += instance.a[i];
    size += instance.a[i] * std::abs(support.f[i]);
  }
  for (Index j = 0; j < instance.m(); ++j) size += instance.b[j] * std::abs(support.g[j]);
  return std::abs(gap.slack) + local_rounding * size / mass +
         4 * std::numeric_limits<double>::denorm_min();
}

// Costs above a level are lowered to it, in a copy; false if stopped, or if that would change
// little. An optimal plan of the capped costs that pays none of the lowered ones is optimal for the
// costs as given, too, and so are its potentials, whatever the level is: no plan got dearer. And if
// some plan pays `highest` at most, then optimal potentials of the cells up to there spread over
// (n + m) (highest - lowest) at most, so that a level of four times that leaves them optimal and
// no lowered cell of use.
template <class T>
bool ExactSolver<T>::cap_costs(const MatrixView<T>& cost, double highest, const Cpu& exec) {
  const double low = instance.lowest;
  if (!(highest > low)) return false;
  const double capped_at = low + 4 * static_cast<double>(cost.rows + cost.cols) * (highest - low);
  if (!(capped_at / 2 - low / 2 < instance.highest / 8 - low / 8)) return false;
  level = capped_at;
  capped.resize(static_cast<std::size_t>(cost.rows * cost.cols));
  for (Index i = 0; i < cost.rows; ++i) {
    const T* row = cost.row(i);
    std::transform(row, row + cost.cols, capped.begin() + i * cost.cols,
                   [limit = static_cast<T>(level)](T x) { return std::min(x, limit); });
    if (i % 64 == 63 && exec.stopped()) return false;
  }
  return true;
}

// From an instance to a support.
template <class T>
Stop ExactSolver<T>::optimize(const double* f_init, const double* g_init, Index max_iter,
                              const Cpu& exec, Index& iterations) {
  if (!start_potentials(instance, f_init, g_init, screen, exec)) return Stop::interrupted;
  const bool cold = f_init == nullptr || g_init == nullptr;
  if (Assignment<T>::fits(instance)) {
    if (!fill_screen(instance, screen, exec)) return Stop::interrupted;
    const Assigned state = assign(cold, max_iter, exec);
    if (state == Assigned::interrupted) return Stop::interrupted;
    iterations = assignment.augmentations;
    if (state == Assigned::yes) return Stop::optimal;
    if (state == Assigned::max_iterations) return Stop::max_iterations;
    if (max_iter >= 0) max_iter -= iterations;
  }
  shortlist.clear();
  const bool worthwhile = cold && std::min(instance.n(), instance.m()) >= least_annealed;
  if ((worthwhile && !anneal(instance, screen, kernel, exec)) ||
      !fill_screen(instance, screen, exec) ||
      (screen.stride > longest_searched && !fill_shortlist(screen, shortlist, exec)) ||
      !start_basis(instance, screen, shortlist, !cold, tree, exec)) {
    return Stop::interrupted;
  }
  Index pivots = 0;
  const Stop stop = solve(instance, screen, shortlist, tree, max_iter, exec, pivots);
  iterations += pivots;
  assign_tree(tree, support);
  return stop;
}

// An assignment that passes the verification, or too_hard.
template <class T>
Assigned ExactSolver<T>::assign(bool cold, Index limit, const Cpu& exec) {
  const Assigned state = assignment.run(instance, screen, cold, limit, exec);
  if (state != Assigned::yes && state != Assigned::max_iterations) return state;
  assign_permutation(assignment.col_of, assignment.f, assignment.g, support);
  if (state == Assigned::max_iterations) return state;
  std::vector<Node> suspects;
  switch (verify(instance, support.f.data(), support.g.data(), exec, suspects)) {
    case Verdict::feasible:
      return Assigned::yes;
    case Verdict::interrupted:
      return Assigned::interrupted;
    default:
      return Assigned::too_hard;
  }
}

// Proves the support to be optimal at the scale of its reduced costs, or finds one that is. If
// proved, its potentials are what `refinement` has.
template <class T>
Stop ExactSolver<T>::refine(Index max_iter, const Cpu& exec, Index& iterations) {
  refinement.start(support);
  const std::vector<double> zeros(static_cast<std::size_t>(std::max(instance.n(), instance.m())));
  for (int round = 0;; ++round) {
    if (!refinement.evaluate(instance, support, exec)) return Stop::interrupted;
    if (refinement.proved()) {
      refinement.round(instance, support);
      return Stop::optimal;
    }
    if (round == most_refinements) return Stop::precision_limit;
    if (!finer) finer = std::make_unique<ExactSolver<double>>();
    finer->screen.data = screen.data;
    finer->kernel = kernel;
    if (!finer->instance.prepare(refinement.costs(), instance.a.data(), instance.b.data(), exec))
      return Stop::interrupted;
    if (finer->instance.n() != instance.n() || finer->instance.m() != instance.m())
      return Stop::precision_limit;
    Index pivots = 0;
    const Stop stop = finer->optimize(zeros.data(), zeros.data(),
                                      max_iter < 0 ? -1 : max_iter - iterations, exec, pivots);
    iterations += pivots;
    if (stop == Stop::interrupted || stop == Stop::max_iterations) return stop;
    refinement.add(finer->support.g, finer->instance.exponent);
    support.cells = finer->support.cells;
    support.last_col = finer->support.last_col;
  }
}

template <class T>
Outcome ExactSolver<T>::solve_one(const ExactProblem<T>& problem, Index k, const double* a,
                                  const double* b, const ExactResult& result, const Cpu& exec) {
  const MatrixView<T> cost = problem.cost[k];
  const Answer answer(result, k, cost.rows, cost.cols);
  const auto finish = [&](Status status) {
    // A value is no answer if the caller's type cannot hold it, nor are potentials beyond float64.
    if (status == Status::optimal &&
        !(std::isfinite(static_cast<T>(result.value[k])) && holds_duals(instance, answer)))
      status = Status::precision_limit;
    result.status[k] = static_cast<std::int32_t>(status);
    return Outcome::done;
  };
  const auto within = [&](double error, double scale) {
    return std::ldexp(error, instance.exponent) <= allowed_error * scale;
  };
  const auto left = [&] { return problem.max_iter < 0 ? -1 : problem.max_iter - result.n_iter[k]; };
  result.n_iter[k] = 0;
  if (!instance.prepare(cost, a, b, exec)) return Outcome::interrupted;
  if (instance.empty()) {
    if (!write_empty(instance, exec, answer)) return Outcome::interrupted;
    return finish(Status::optimal);
  }
  const double* f_init = problem.f_init[k];
  const double* g_init = problem.g_init[k];
  level = std::numeric_limits<double>::infinity();
  for (;;) {
    Index pivots = 0;
    Stop stop = optimize(f_init, g_init, left(), exec, pivots);
    if (stop == Stop::interrupted) return Outcome::interrupted;
    result.n_iter[k] += pivots;
    if (!write_duals(instance, support, stop != Stop::optimal, exec, answer))
      return Outcome::interrupted;
    Gap gap = write_plan(instance, cost, support, a, b, answer);
    if (stop == Stop::max_iterations) return finish(Status::max_iterations);
    const auto close = [&](double error, double smallest = 0) {
      const Paid paid(cost, answer, instance.mass);
      const double scale = std::max(paid.scale(), std::ldexp(smallest, instance.exponent));
      return paid.high <= level && within(error, scale) &&
             within(gap.beside + gap.missing, gap.dearest);
    };
    if (!(*answer.marginal_error <= mass_rounding)) return finish(Status::precision_limit);
    const double highest = Paid(cost, answer, instance.mass).high;
    if (highest <= instance.lowest && within(gap.beside, gap.dearest))
      return finish(Status::optimal);
    if (stop == Stop::optimal && close(error_bound(gap))) return finish(Status::optimal);

    // Costs that no optimal plan pays have made the potentials large, and took their digits.
    if (cap_costs(instance.cost, highest, exec)) {
      f_init = g_init = nullptr;
      if (!instance.prepare({capped.data(), cost.rows, cost.cols, cost.cols}, a, b, exec))
        return Outcome::interrupted;
      continue;
    }
    if (exec.stopped()) return Outcome::interrupted;

    pivots = 0;
    stop = refine(left(), exec, pivots);
    if (stop == Stop::interrupted) return Outcome::interrupted;
    result.n_iter[k] += pivots;
    if (stop == Stop::max_iterations) return finish(Status::max_iterations);
    if (stop != Stop::optimal) return finish(Status::precision_limit);
    if (!write_duals(instance, support, false, exec, answer)) return Outcome::interrupted;
    gap = write_plan(instance, cost, support, a, b, answer);
    return finish(*answer.marginal_error <= mass_rounding &&
                          close(refinement.error(), refinement.smallest())
                      ? Status::optimal
                      : Status::precision_limit);
  }
}

// The weights of one problem in double beside the solver, on cache lines of their own.
template <class T>
struct alignas(alignment) Slot {
  ExactSolver<T> solver;
  std::vector<double> a, b;

  void bind(char* scratch, Index n, Index m) noexcept {
    solver.screen.data = reinterpret_cast<float*>(scratch);
    solver.kernel = reinterpret_cast<std::uint32_t*>(scratch + kernel_offset(n, m));
  }

  Outcome solve(const ExactProblem<T>& problem, Index k, const ExactResult& result,
                const Cpu& exec) {
    widen(problem.a[k], problem.cost.rows, a);
    widen(problem.b[k], problem.cost.cols, b);
    return solver.solve_one(problem, k, a.data(), b.data(), result, exec);
  }

  static void widen(const T* from, Index size, std::vector<double>& to) {
    const auto count = static_cast<std::size_t>(size);
    if (from == nullptr) {
      to.assign(count, 1 / static_cast<double>(size));
    } else {
      to.assign(from, from + size);
    }
  }
};

}  // namespace

template <class T>
Index exact_workspace(const ExactProblem<T>& problem, int threads) noexcept {
  const CostBatch<T>& cost = problem.cost;
  return alignment + slots(cost.batch, threads) * slot_bytes(cost.rows, cost.cols);
}

template <class T>
Outcome exact(const ExactProblem<T>& problem, const ExactResult& result, void* workspace,
              const Cpu& exec) noexcept {
  const CostBatch<T>& cost = problem.cost;
  const Index n = cost.rows;
  const Index m = cost.cols;
  if (cost.batch == 0) return Outcome::done;
  if (n + m > std::numeric_limits<Node>::max() / 2) return Outcome::out_of_memory;

  const auto address = reinterpret_cast<std::uintptr_t>(workspace);
  char* const aligned = static_cast<char*>(workspace) + (alignment - address % alignment);
  const Index at_once = slots(cost.batch, exec.threads);
  const std::unique_ptr<Slot<T>[]> each(new (std::nothrow) Slot<T>[at_once]);
  if (!each) return Outcome::out_of_memory;
  std::atomic<bool> memory{true};
  const auto solve = [&](Index k, Index slot, const Cpu& inner) {
    try {
      each[slot].bind(aligned + slot * slot_bytes(n, m), n, m);
      return each[slot].solve(problem, k, result, inner) == Outcome::done;
    } catch (const std::bad_alloc&) {
      memory = false;
      return false;
    }
  };
  const bool finished = cpu::for_each_problem(cost.batch, at_once, exec, solve);
  if (!memory) return Outcome::out_of_memory;
  return finished ? Outcome::done : Outcome::interrupted;
}

template Index exact_workspace<float>(const ExactProblem<float>&, int) noexcept;
template Index exact_workspace<double>(const ExactProblem<double>&, int) noexcept;
template Outcome exact<float>(const ExactProblem<float>&, const ExactResult&, void*,
                              const Cpu&) noexcept;
template Outcome exact<double>(const ExactProblem<double>&, const ExactResult&, void*,
                               const Cpu&) noexcept;

}  // namespace kantorch
