#include "core/bound.hpp"

#include <limits>

#include "cuda/runtime/launch.hpp"
#include "cuda/scaling/problem.hpp"

namespace kantorch {
namespace cuda {
namespace {

constexpr double top = std::numeric_limits<double>::max();

// One problem a block: g' = the c-transform of f over points with mass, f' = that of g', and the dual's value there.
template <class T>
struct DualBound {
  static constexpr int threads = 128;

  BoundProblem<T> problem;
  double* bound;
  double* scratch;  // f', g' of every problem

  template <class Team>
  KANTORCH_DEVICE void operator()(Team& team) const {
    const Index n = problem.cost.rows, m = problem.cost.cols, k = team.block();
    const CostOf<T> cost(problem.cost, k);
    const double* const f = problem.f[k];
    const T* const a = problem.a[k];
    const T* const b = problem.b[k];
    double* const f_new = scratch + k * (n + m);
    double* const g_new = f_new + n;
    BlockReduce<Team> reduce(team);
    bool known = true;
    for (Index i = team.rank(); i < n; i += team.size()) known &= std::isfinite(f[i]);
    known = !reduce.any(!known);
    for (Index j = team.rank(); j < m; j += team.size()) {
      double low = top;
      for (Index i = 0; i < n; ++i)
        if (a[i] > 0) low = fmin(low, static_cast<double>(cost(i, j)) - f[i]);
      g_new[j] = b[j] > 0 ? fmax(low, -top) : -top;  // without mass it constrains nothing
    }
    double value = rounded_down(team, reduce, cost, a, b, f_new, g_new);
    if (!std::isfinite(value)) {
      // Costs or potentials at the end of the range: rows alone give a bound as well.
      team.sync();
      for (Index j = team.rank(); j < m; j += team.size()) g_new[j] = b[j] > 0 ? 0 : -top;
      value = rounded_down(team, reduce, cost, a, b, f_new, g_new);
      if (std::isnan(value)) value = -infinity;
    }
    if (team.rank() == 0) bound[k] = known ? value : std::numeric_limits<double>::quiet_NaN();
  }
  template <class Team>
  static constexpr Index bytes() {
    return BlockReduce<Team>::bytes();
  }

 private:
  // <a, f'> + <b, g'> mass(a) / mass(b), less all that rounding may have added: any sum of k terms is off by at most
  // k 2^-53 times the sum of their sizes.
  template <class Team>
  KANTORCH_DEVICE double rounded_down(Team& team, BlockReduce<Team>& reduce, const CostOf<T>& cost,
                                      const T* a, const T* b, double* f_new, double* g_new) const {
    const Index n = problem.cost.rows, m = problem.cost.cols;
    team.sync();
    double of_rows = 0, of_cols = 0, size = 0, mass_a = 0, mass_b = 0;
    for (Index i = team.warp(); i < n; i += team.warps()) {
      double low = top;
      for (Index j = team.lane(); j < m; j += warp_size)
        low = fmin(low, static_cast<double>(cost(i, j)) - g_new[j]);
      low = reduce_lanes(team, low, Min{});
      const double weight = static_cast<double>(a[i]);
      if (team.lane() != 0 || !(weight > 0)) continue;
      f_new[i] = low;
      mass_a += weight;
      of_rows += weight * low;
      size += fabs(weight * low);
    }
    for (Index j = team.rank(); j < m; j += team.size()) {
      const double weight = static_cast<double>(b[j]);
      if (!(weight > 0)) continue;
      mass_b += weight;
      of_cols += weight * g_new[j];
      size += 2 * fabs(weight * g_new[j]);
    }
    of_rows = reduce(of_rows, Sum{});
    of_cols = reduce(of_cols, Sum{});
    size = reduce(size, Sum{});
    mass_a = reduce(mass_a, Sum{});
    mass_b = reduce(mass_b, Sum{});
    if (!(mass_a > 0 && mass_b > 0)) return 0;
    const double terms = static_cast<double>(3 * (n + m) + 16);
    double value = of_rows + of_cols * (mass_a / mass_b);
    value -= terms * 0x1p-53 * size + terms * std::numeric_limits<double>::denorm_min();
    if (!problem.cost.points.given()) return value;
    // Distances are smaller than computed by the rounding of their sums of products at most, and not negative.
    const double steps = static_cast<double>(problem.cost.points.dims + 6);
    value -= steps * mass_a * static_cast<double>(std::numeric_limits<T>::denorm_min());
    return value > 0
               ? value * (1 - steps * static_cast<double>(std::numeric_limits<T>::epsilon()) / 2)
               : value;
  }
};

}  // namespace
}  // namespace cuda

template <class T>
Index dual_bound_workspace(const BoundProblem<T>& problem, const Cuda&) {
  const CostBatch<T>& cost = problem.cost;
  return cost.batch * (cost.rows + cost.cols) * static_cast<Index>(sizeof(double));
}

template <class T>
void dual_bound(const BoundProblem<T>& problem, double* bound, void* workspace, const Cuda& exec) {
  cuda::launch(exec, problem.cost.batch,
               cuda::DualBound<T>{problem, bound, static_cast<double*>(workspace)});
}

template Index dual_bound_workspace(const BoundProblem<float>&, const Cuda&);
template Index dual_bound_workspace(const BoundProblem<double>&, const Cuda&);
template void dual_bound(const BoundProblem<float>&, double*, void*, const Cuda&);
template void dual_bound(const BoundProblem<double>&, double*, void*, const Cuda&);

}  // namespace kantorch
