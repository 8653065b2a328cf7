// The result of the present potentials, and how far from the optimum it is.
#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/ipot/run.hpp"

namespace kantorch::cpu {

// The best bound from the prices of the last step and from the potentials. Near the end each step
// moves F by a dual optimum over beta, so the error of the first falls as fast as that of the plan,
// while that of the second, the mean of all steps, falls like 1 / t.
template <class T, class State>
bool IpotRun<T, State>::best_bound(double sufficient, double* bound) noexcept {
  *bound = -infinity;
  for (const double* dual :
       {static_cast<const double*>(work_.price), static_cast<const double*>(result_.f + k_ * n_)}) {
    double value;
    if (!dual_value(work_.passes.cost_rows(), problem_.a[k_], problem_.b[k_], dual, work_.scratch,
                    exec_, &value))
      return false;
    *bound = std::max(*bound, value);
    if (*bound >= sufficient) break;
  }
  return true;
}

// The result of the present potentials, and the larger of the two errors that are compared with
// tol: the gap counts where the marginals are good enough, and at the `last` time.
template <class T, class State>
bool IpotRun<T, State>::write(bool last, double* worst) noexcept {
  if (!write_result(normal_, work_.passes, work_.f, work_.g, k_, result_)) return false;
  result_.value[k_] = result_.value_linear[k_];
  const double error = *worst = result_.marginal_error[k_];
  converged_ = false;
  // Where all costs are equal, every plan of these marginals is optimal, and the gap is rounding.
  if (fixed_ || !(spread_ > 0) || !(error <= problem_.tol || last)) return true;
  constexpr double top = std::numeric_limits<double>::max();
  const double linear = result_.value_linear[k_];
  const double scale = std::max(normal_.mass * spread_, linear - normal_.mass * lowest_);
  double bound;
  if (!best_bound(linear - problem_.tol * scale, &bound)) return false;
  // Also below 0, where mass that the plan lacks or has too much pays a large constant of the costs.
  const double gap = std::abs(linear - bound);
  converged_ = error <= problem_.tol && gap <= problem_.tol * (normal_.mass * whole_spread_);
  if (!(gap <= problem_.tol * scale)) *worst = std::max(error, gap / scale);
  if (!(scale <= top && *worst <= top)) *worst = infinity;
  const Index dims = problem_.cost.points.dims;
  result_.bound[k_] = dims > 0 ? below_rounded_distances(bound, problem_.a[k_], n_, dims) : bound;
  return true;
}

template bool IpotRun<float, IpotState<float>>::write(bool, double*) noexcept;
template bool IpotRun<float, IpotLog<float>>::write(bool, double*) noexcept;
template bool IpotRun<double, IpotState<double>>::write(bool, double*) noexcept;
template bool IpotRun<double, IpotLog<double>>::write(bool, double*) noexcept;

}  // namespace kantorch::cpu
