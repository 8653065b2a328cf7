// The iterates of IPOT on the problem of a team, and its step in the log domain, which is safe for any cost and beta.
//
// At step t the plan is a_i b_j exp(F_i + G_j - t C_ij / beta), and the step is Sinkhorn's iteration at eps = beta / t
// from 2 G_{t-1} - G_{t-2} (see core/ipot.hpp).
#pragma once

#include "cuda/scaling/gibbs_passes.hpp"
#include "cuda/scaling/problem.hpp"

namespace kantorch::cuda {

template <class Team, class T>
class IpotIterate {
 public:
  using Passes = GibbsPasses<Team, T>;

  static KANTORCH_BOTH constexpr Index vector_count(Index n, Index m) { return 2 * (n + m); }

  // F and G of the passes are scratch between steps.
  KANTORCH_DEVICE IpotIterate(Passes& passes_, double* vectors)
      : passes(passes_),
        f(vectors),
        f_last(f + passes.n),
        g(f_last + passes.n),
        g_last(g + passes.m) {}

  // V_0 = 1, and the first column scaling is exp(g_init / beta); points without mass are as if they were not there.
  // `g_init` is finite, or null.
  KANTORCH_DEVICE void start(double beta, const double* g_init) {
    Team& team = passes.team;
    t = 0;
    rate = rate_of(beta);
    // A constant that the caller's g is larger by, and f smaller, means nothing and would cost digits.
    double highest = -infinity;
    for (Index j = team.rank(); j < passes.m && g_init != nullptr; j += team.size())
      if (passes.b[j] > 0) highest = fmax(highest, g_init[j]);
    highest = passes.reduce(highest, Max{});
    for (Index j = team.rank(); j < passes.m; j += team.size()) {
      const double first = g_init == nullptr ? 0 : to_units(clamp(g_init[j] - highest), rate);
      g[j] = passes.b[j] > 0 ? -log(passes.b[j]) : 0;
      g_last[j] = g[j] - first;
    }
    for (Index i = team.rank(); i < passes.n; i += team.size()) f[i] = f_last[i] = 0;
    team.sync();
  }

  KANTORCH_DEVICE void log_step() {
    extrapolate();
    passes.update_rows();
    double error;
    passes.update_columns(1, &error);
    accept();
  }

  // A step is Sinkhorn's iteration between these two. F of the passes is where the step's is likely to be; its result does
  // not depend on it.
  KANTORCH_DEVICE void extrapolate() {
    Team& team = passes.team;
    ++t;
    passes.rate = fmin(static_cast<double>(t) * rate, rate_of(0));
    for (Index i = team.rank(); i < passes.n; i += team.size())
      passes.f[i] = clamp(2 * f[i] - f_last[i]);
    for (Index j = team.rank(); j < passes.m; j += team.size())
      passes.g[j] = clamp(2 * g[j] - g_last[j]);
    team.sync();
  }

  KANTORCH_DEVICE void accept() {
    Team& team = passes.team;
    for (Index i = team.rank(); i < passes.n; i += team.size()) {
      f_last[i] = f[i];
      f[i] = passes.f[i];
    }
    for (Index j = team.rank(); j < passes.m; j += team.size()) {
      g_last[j] = g[j];
      g[j] = passes.g[j];
    }
    team.sync();
  }

  Passes& passes;
  double* const f;       // F_t
  double* const f_last;  // F_{t-1}, 0 for t = 1
  double* const g;
  double* const g_last;  // before the first step, what makes the extrapolation the start
  double rate = 1;       // 1 / beta
  Index t = 0;
};

}  // namespace kantorch::cuda
