// Potentials at points without mass, where those of the scalings would be -inf: the c-transform, the largest value that
// keeps the dual feasible there. The plan does not depend on them.
#pragma once

#include "cuda/scaling/problem.hpp"

namespace kantorch::cuda {

// On the written f and g of problem k, which are (beta / t) log U less eps log a, and likewise for b. `g_log` is scratch.
template <class Team, class T>
KANTORCH_DEVICE void transform_massless(GibbsPasses<Team, T>& passes, const T* a, const T* b,
                                        double eps, double* f, double* g, double* g_log) {
  Team& team = passes.team;
  const auto logarithm = [&](T weight) {
    return weight > 0 ? eps * log(static_cast<double>(weight)) : 0;
  };
  for (Index j = team.rank(); j < passes.m; j += team.size()) {
    if (!(b[j] > 0)) {
      double low = infinity;
      for (Index i = 0; i < passes.n; ++i)
        if (a[i] > 0)
          low = fmin(low, static_cast<double>(passes.cost(i, j)) - (f[i] + logarithm(a[i])));
      if (low < infinity) g[j] = finite(low);
    }
    g_log[j] = g[j] + logarithm(b[j]);
  }
  team.sync();
  for (Index i = team.warp(); i < passes.n; i += team.warps()) {
    if (a[i] > 0) continue;
    double low = infinity;
    for (Index j = team.lane(); j < passes.m; j += warp_size)
      low = fmin(low, static_cast<double>(passes.cost(i, j)) - g_log[j]);
    low = reduce_lanes(team, low, Min{});
    if (team.lane() == 0) f[i] = finite(low);
  }
}

}  // namespace kantorch::cuda
