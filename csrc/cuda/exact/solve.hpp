// One problem from its input to the verified answer, by a block.
#pragma once

#include "cuda/exact/basis.hpp"
#include "cuda/exact/plan.hpp"
#include "cuda/exact/simplex.hpp"

namespace kantorch::cuda::network {

template <class Team, class T>
class Solve {
 public:
  KANTORCH_DEVICE Solve(Block<Team>& block, const ExactProblem<T>& problem, Index k, Tree& tree,
                        Entering* entering, const ExactResult& result)
      : block_(block),
        team_(block.team),
        problem_(problem),
        k_(k),
        tree_(tree),
        entering_(entering),
        result_(result),
        answer_(result, k, problem.cost.rows, problem.cost.cols),
        instance_{problem.cost[k], problem.a[k], problem.b[k], static_cast<Node>(problem.cost.rows),
                  static_cast<Node>(problem.cost.cols)} {}

  KANTORCH_DEVICE void run(Index most_pivots) {
    tree_.rows = instance_.n;
    tree_.nodes = instance_.nodes();
    const double* const f_init = problem_.f_init[k_];
    const double* const g_init = problem_.g_init[k_];
    bool bad = false;
    if (g_init != nullptr) {
      for (Node v = team_.rank(); v < tree_.nodes; v += team_.size())
        bad |= !std::isfinite(tree_.is_row(v) ? f_init[v] : g_init[v - instance_.n]);
    }
    bad = block_.reduce.any(bad);
    const Input input = read_weights(block_, instance_, tree_.spare);
    if (input == Input::empty) {
      for (Node v = team_.rank(); v < tree_.nodes; v += team_.size()) tree_.spare[v] = 0;
      team_.sync();
    }
    const auto is_working = [&](Node v) { return tree_.spare[v] > 0; };
    if (bad || input == Input::bad || !set_scale(block_, instance_, is_working))
      return write_nothing(std::numeric_limits<double>::quiet_NaN(), Status::bad_input);
    if (input == Input::empty) return write_nothing(0, Status::optimal);

    Basis<Team, T> basis(block_, instance_, tree_);
    basis.start_potentials(g_init);
    basis.build(tree_, g_init != nullptr);
    find_ancestors(team_, tree_);
    optimise(most_pivots);
  }

 private:
  KANTORCH_DEVICE void optimise(Index most_pivots) {
    Simplex<Team, T> simplex(block_, instance_, tree_, entering_, most_pivots);
    Plan<Team, T> plan(block_, instance_, tree_, answer_);
    Stop stop = Stop::optimal;
    do {
      stop = simplex.approach();
    } while (stop == Stop::optimal && cap(plan));
    if (stop == Stop::optimal) {
      stop = simplex.prove();
    } else {
      simplex.find_wide_potentials();
    }
    plan.write_duals(stop != Stop::optimal);
    plan.write(true);
    const Gap gap = plan.assess();
    Status status = Status::max_iterations;
    if (stop == Stop::optimal) {
      // A value is no answer if the caller's type cannot hold it, nor are potentials beyond float64.
      const bool proved = is_proved(simplex, plan, gap) && plan.holds_duals() &&
                          std::isfinite(static_cast<T>(plan.value));
      status = proved ? Status::optimal : Status::precision_limit;
    }
    if (team_.rank() != 0) return;
    result_.value[k_] = plan.value;
    result_.marginal_error[k_] = plan.marginal_error;
    result_.n_iter[k_] = simplex.pivots;
    result_.status[k_] = static_cast<std::int32_t>(status);
  }

  // Costs above a level are lowered to it; false if that would change little. An optimal plan of the capped costs that
  // pays none of the lowered ones is optimal for the costs as given, too, and so are its potentials, whatever the level
  // is: no plan got dearer. And if some plan pays `highest` at most, then optimal potentials of the cells up to there
  // spread over (n + m) (highest - lowest) at most, so that a level of four times that leaves them optimal and no
  // lowered cell of use. Costs that no optimal plan pays then take no digits from the others.
  KANTORCH_DEVICE bool cap(Plan<Team, T>& plan) {
    if (!(level(plan.paid_at_least()) < unlimited)) return false;
    plan.write(false);
    const double lower = level(plan.paid().high);
    if (!(lower < unlimited)) return false;
    instance_.level = lower;
    return set_scale(block_, instance_, [&](Node v) { return tree_.holds(v); });
  }
  KANTORCH_DEVICE double level(double highest) const {
    const double low = instance_.lowest;
    if (!(highest > low)) return unlimited;
    const double capped = low + 4 * static_cast<double>(tree_.nodes) * (highest - low);
    return capped / 2 - low / 2 < instance_.highest / 8 - low / 8 ? capped : unlimited;
  }

  // Whether plan and duals are the optimum at the scale of the answer itself: with reduced costs of 32 digits, none of
  // them negative, they can be off only as far as others than the tree's may be 0.
  KANTORCH_DEVICE bool is_proved(const Simplex<Team, T>& simplex, Plan<Team, T>& plan,
                                 const Gap& gap) {
    const Paid paid = plan.paid();
    if (!(plan.marginal_error <= mass_rounding)) return false;
    if (paid.high <= instance_.lowest && is_within(gap.beside, gap.dearest)) return true;
    double tight = 0, arcs = 0, smallest = unlimited;
    for (Node v = team_.rank(); v < tree_.nodes; v += team_.size()) arcs += tree_.depth[v] > 1;
    for (Node i = team_.warp(); i < instance_.n; i += team_.warps()) {
      if (!tree_.holds(i)) continue;
      for (Node j = team_.lane(); j < instance_.m; j += warp_size) {
        const Node col = instance_.n + j;
        if (!tree_.holds(col) || simplex.wide_reduced(i, col) > 2 * simplex.rounding) continue;
        ++tight;
        const double size = fabs(instance_.unrounded(i, j));
        if (size > 0) smallest = fmin(smallest, size);
      }
    }
    tight = block_.reduce(tight, Sum{});
    arcs = block_.reduce(arcs, Sum{});
    smallest = block_.reduce(smallest, Min{});
    // No optimal plan pays less, but nothing.
    const double least = smallest < unlimited ? ldexp(smallest, instance_.exponent) : 0;
    const double error = tight > arcs ? 2 * simplex.rounding : 0;
    return paid.in_tree <= instance_.level && is_within(error, fmax(paid.scale(), least)) &&
           is_within(gap.beside + gap.missing, gap.dearest);
  }
  KANTORCH_DEVICE bool is_within(double error, double scale) const {
    return ldexp(error, instance_.exponent) <= allowed_error * scale;
  }

  // No plan: the answer of a problem without mass, or NaN.
  KANTORCH_DEVICE void write_nothing(double number, Status status) {
    const Index n = instance_.n, m = instance_.m;
    for (Index slot = team_.rank(); slot < n + m - 1; slot += team_.size()) {
      answer_.plan_row[slot] = answer_.plan_col[slot] = 0;
      answer_.plan_mass[slot] = number;
    }
    for (Node j = team_.rank(); j < instance_.m; j += team_.size()) answer_.g[j] = number;
    for (Node i = team_.warp(); i < instance_.n; i += team_.warps()) {
      double f = unlimited;
      for (Node j = team_.lane(); j < instance_.m; j += warp_size)
        f = fmin(f, instance_.given(i, j));
      f = reduce_lanes(team_, f, Min{});
      if (team_.lane() == 0) answer_.f[i] = status == Status::optimal ? f : number;
    }
    if (team_.rank() != 0) return;
    result_.value[k_] = result_.marginal_error[k_] = number;
    result_.n_iter[k_] = 0;
    result_.status[k_] = static_cast<std::int32_t>(status);
  }

  Block<Team>& block_;
  Team& team_;
  const ExactProblem<T>& problem_;
  const Index k_;
  Tree& tree_;
  Entering* const entering_;
  const ExactResult& result_;
  const Answer answer_;
  Instance<T> instance_;
};

}  // namespace kantorch::cuda::network
