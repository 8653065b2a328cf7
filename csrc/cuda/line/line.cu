#include "core/line.hpp"

#include "common/line_plan.hpp"
#include "cuda/runtime/launch.hpp"
#include "cuda/scaling/problem.hpp"

namespace kantorch {
namespace cuda {
namespace {

// The points of one side in their order, and their weights, once they are of the same mass as the other side's.
struct LineSide {
  double* places;
  double* weights;
  const std::int64_t* order;
  Index count;
  double mass;

  KANTORCH_BOTH Index size() const { return count; }
  KANTORCH_BOTH double place(Index k) const { return places[k]; }
  KANTORCH_BOTH double weight(Index k) const { return weights[k]; }
  KANTORCH_BOTH std::int64_t index(Index k) const { return order[k]; }
};

struct Weights {
  double largest, smallest, mass;
};

// One problem a block. All lanes read, and write what is left to write; the walk along the plan is that of the CPU, by
// one of them: the next cell is known when the last one is done. Its loads are from neighbouring places.
template <class T>
struct Line {
  static constexpr int threads = 64;

  LineProblem<T> problem;
  ExactResult result;
  double* memory;  // places and weights of every problem

  template <class Team>
  KANTORCH_DEVICE void operator()(Team& team) const {
    const Index n = problem.rows, m = problem.cols, k = team.block(), cells = n + m - 1;
    TeamReduce<Team> reduce(team);
    auto* const walked = team.template shared<line_plan::Walked>(1);
    double* const own = memory + 2 * k * (n + m);
    LineSide rows{own, own + n, problem.x_order[k], n, 0};
    LineSide cols{own + 2 * n, own + 2 * n + m, problem.y_order[k], m, 0};
    bool bad = false;
    const Weights of_rows = read(team, reduce, problem.x[k], problem.a[k], rows, &bad),
                  of_cols = read(team, reduce, problem.y[k], problem.b[k], cols, &bad);
    bad |= !(of_rows.mass < infinity && of_cols.mass < infinity);
    bad |= fabs(of_rows.mass - of_cols.mass) > mass_tolerance * fmax(of_rows.mass, of_cols.mass);
    bad = reduce.any(bad);
    team.sync();

    const line_plan::Cost cost{problem.squared};
    const line_plan::Plan plan{result.f + k * n, result.g + k * m, result.plan_row + k * cells,
                               result.plan_col + k * cells, result.plan_mass + k * cells};
    bad = bad || !(farthest_cost(rows, cols) < std::numeric_limits<T>::infinity());
    if (bad) return give_up(team, plan, k);

    const bool equal = of_rows.largest == of_rows.smallest && of_cols.largest == of_cols.smallest;
    const line_plan::Balance to = line_plan::balance(n, m, of_rows.largest, of_cols.largest, equal);
    rows.mass = scale(team, reduce, rows, to.rows, to.equal);
    cols.mass = scale(team, reduce, cols, to.cols, to.equal);
    const double ratio = to.equal ? 1 : line_plan::ratio_of(rows.mass, cols.mass, n + m);
    if (ratio != 1) cols.mass = scale(team, reduce, cols, ratio, false);
    const double farthest =
        fmax(rows.places[n - 1] - cols.places[0], cols.places[m - 1] - rows.places[0]);
    const int exponent = cost.exponent(farthest);
    team.sync();
    if (exponent != 0) {
      move(team, rows, exponent);
      move(team, cols, exponent);
    }
    team.sync();
    if (team.rank() == 0)
      line_plan::walk(cost, rows, cols, to, plan, [](Index) { return false; }, walked);
    team.sync();

    const int back = cost.exponent_of(-exponent);
    bool in_range = lower(team, plan.f, n, walked->lowered, back);
    in_range &= lower(team, plan.g, m, 0, back);
    in_range = !reduce.any(!in_range);
    if (!in_range) {
      // Feasible for costs that are not negative.
      for (Index i = team.rank(); i < n; i += team.size()) plan.f[i] = 0;
      for (Index j = team.rank(); j < m; j += team.size()) plan.g[j] = 0;
    }
    if (team.rank() != 0) return;
    const double value = value_of(*walked, cost, to, exponent);
    const bool verified = walked->verified && in_range && std::isfinite(static_cast<T>(value));
    finish(k, value, walked->marginal_error, verified ? Status::optimal : Status::precision_limit);
  }
  template <class Team>
  static constexpr Index bytes() {
    return TeamReduce<Team>::bytes() + shared_bytes<line_plan::Walked>(1);
  }

 private:
  template <class Team>
  KANTORCH_DEVICE static Weights read(Team& team, TeamReduce<Team>& reduce, const T* places,
                                      const T* weights, const LineSide& to, bool* bad) {
    Weights found{0, infinity, 0};
    for (Index k = team.rank(); k < to.count; k += team.size()) {
      const Index from = to.order[k];
      const double place = static_cast<double>(places[from]) + 0.0,  // without -0
          weight = static_cast<double>(weights[from]);
      *bad |= !std::isfinite(place) || !(weight >= 0 && weight < infinity);
      to.places[k] = place;
      to.weights[k] = weight;
      found.largest = fmax(found.largest, weight);
      found.smallest = fmin(found.smallest, weight);
      found.mass += weight;
    }
    found.largest = reduce(found.largest, Max{});
    found.smallest = reduce(found.smallest, Min{});
    found.mass = reduce(found.mass, Sum{});
    return found;
  }

  // In the dtype of the points, as they would be stored.
  KANTORCH_DEVICE T farthest_cost(const LineSide& rows, const LineSide& cols) const {
    const T up = static_cast<T>(rows.places[rows.count - 1]) - static_cast<T>(cols.places[0]),
            down = static_cast<T>(cols.places[cols.count - 1]) - static_cast<T>(rows.places[0]);
    const T most = up < down ? down : up;
    return problem.squared ? most * most : most;
  }

  // Multiplies the weights, or makes all of them equal to the factor; returns their sum.
  template <class Team>
  KANTORCH_DEVICE static double scale(Team& team, TeamReduce<Team>& reduce, const LineSide& side,
                                      double factor, bool equal) {
    if (equal) {
      for (Index k = team.rank(); k < side.count; k += team.size()) side.weights[k] = factor;
      return factor * static_cast<double>(side.count);
    }
    CompensatedSum sum;
    for (Index k = team.rank(); k < side.count; k += team.size()) {
      side.weights[k] *= factor;
      sum.add(side.weights[k]);
    }
    return reduce(sum.total(), Sum{});
  }

  template <class Team>
  KANTORCH_DEVICE static void move(Team& team, const LineSide& side, int exponent) {
    for (Index k = team.rank(); k < side.count; k += team.size())
      side.places[k] = ldexp(side.places[k], exponent);
  }

  // Whether all of a lane's potentials are finite.
  template <class Team>
  KANTORCH_DEVICE static bool lower(Team& team, double* potential, Index size, double by,
                                    int exponent) {
    bool finite = true;
    for (Index k = team.rank(); k < size; k += team.size()) {
      potential[k] = ldexp(potential[k] - by, exponent);
      finite &= std::isfinite(potential[k]);
    }
    return finite;
  }

  template <class Team>
  KANTORCH_DEVICE void give_up(Team& team, const line_plan::Plan& plan, Index k) const {
    constexpr double nan = std::numeric_limits<double>::quiet_NaN();
    const Index n = problem.rows, m = problem.cols;
    for (Index i = team.rank(); i < n; i += team.size()) plan.f[i] = nan;
    for (Index j = team.rank(); j < m; j += team.size()) plan.g[j] = nan;
    for (Index cell = team.rank(); cell < n + m - 1; cell += team.size()) {
      plan.row[cell] = plan.col[cell] = 0;
      plan.mass[cell] = nan;
    }
    if (team.rank() == 0) finish(k, nan, nan, Status::bad_input);
  }

  KANTORCH_DEVICE void finish(Index k, double value, double error, Status status) const {
    result.value[k] = value;
    result.marginal_error[k] = error;
    result.n_iter[k] = 0;
    result.status[k] = static_cast<std::int32_t>(status);
  }
};

}  // namespace
}  // namespace cuda

template <class T>
Index line_workspace(const LineProblem<T>& problem, const Cuda&) {
  return problem.batch * 2 * (problem.rows + problem.cols) * static_cast<Index>(sizeof(double));
}

template <class T>
void line(const LineProblem<T>& problem, const ExactResult& result, void* workspace,
          const Cuda& exec) {
  cuda::launch(exec, problem.batch,
               cuda::Line<T>{problem, result, static_cast<double*>(workspace)});
}

template Index line_workspace(const LineProblem<float>&, const Cuda&);
template Index line_workspace(const LineProblem<double>&, const Cuda&);
template void line(const LineProblem<float>&, const ExactResult&, void*, const Cuda&);
template void line(const LineProblem<double>&, const ExactResult&, void*, const Cuda&);

}  // namespace kantorch
