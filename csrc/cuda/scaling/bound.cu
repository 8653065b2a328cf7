#include "core/bound.hpp"

#include <limits>

#include "cuda/runtime/launch.hpp"
#include "cuda/scaling/dual_value.hpp"

namespace kantorch {
namespace cuda {
namespace {

// One problem a block.
template <class T>
struct DualBound {
  static constexpr int threads = 128;

  BoundProblem<T> problem;
  double* bound;
  double* scratch;  // g' of every problem

  template <class Team>
  KANTORCH_DEVICE void operator()(Team& team) const {
    const Index n = problem.cost.rows, m = problem.cost.cols, k = team.block();
    const CostOf<T> cost(problem.cost, k);
    const double* const f = problem.f[k];
    const T* const a = problem.a[k];
    TeamReduce<Team> reduce(team);
    double mass = 0;
    bool known = true;
    for (Index i = team.rank(); i < n; i += team.size()) {
      known &= std::isfinite(f[i]);
      mass += static_cast<double>(a[i]);
    }
    known = !reduce.any(!known);
    DualValue<Team, T> dual(team, reduce, cost, n, m, a, problem.b[k], scratch + k * m);
    double value = dual(f);
    if (problem.cost.points.given()) {
      mass = reduce(mass, Sum{});
      value = below_rounded_distances<T>(value, mass, problem.cost.points.dims);
    }
    if (team.rank() == 0) bound[k] = known ? value : std::numeric_limits<double>::quiet_NaN();
  }
  template <class Team>
  static constexpr Index bytes() {
    return TeamReduce<Team>::bytes();
  }
};

}  // namespace
}  // namespace cuda

template <class T>
Index dual_bound_workspace(const BoundProblem<T>& problem, const Cuda&) {
  const CostBatch<T>& cost = problem.cost;
  return cost.batch * cost.cols * static_cast<Index>(sizeof(double));
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
