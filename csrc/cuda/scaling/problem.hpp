// A problem's weights, scaled to mass 1, and whether its values may be computed with.
#pragma once

#include "common/scaling_rules.hpp"
#include "core/check.hpp"
#include "core/scaling.hpp"
#include "core/status.hpp"
#include "cuda/scaling/gibbs_passes.hpp"

namespace kantorch::cuda {

struct Masses {
  double a;  // as given
  double b;
  bool good;
};

// Writes weights / mass; a vector without mass is copied.
template <class Team, class T>
KANTORCH_DEVICE double normalise(Team& team, TeamReduce<Team>& reduce, const T* weights, Index size,
                                 double* out, bool* bad) {
  double mass = 0;
  for (Index i = team.rank(); i < size; i += team.size()) {
    const double weight = static_cast<double>(weights[i]);
    *bad |= !(weight >= 0 && weight < infinity);
    mass += weight;
  }
  mass = reduce(mass, Sum{});
  const double divisor = mass > 0 ? mass : 1;
  for (Index i = team.rank(); i < size; i += team.size())
    out[i] = static_cast<double>(weights[i]) / divisor;
  return mass;
}

template <class Team, class T>
KANTORCH_DEVICE Masses read_weights(GibbsPasses<Team, T>& passes, const T* a, const T* b) {
  bool bad = false;
  Masses masses{};
  masses.a = normalise(passes.team, passes.reduce, a, passes.n, passes.a, &bad);
  masses.b = normalise(passes.team, passes.reduce, b, passes.m, passes.b, &bad);
  bad |= !(masses.a < infinity && masses.b < infinity);
  bad |= fabs(masses.a - masses.b) > mass_tolerance * fmax(masses.a, masses.b);
  masses.good = !passes.reduce.any(bad);
  return masses;
}

KANTORCH_DEVICE double to_units(double x, double rate) { return clamp(x * rate); }

KANTORCH_DEVICE double finite(double x) {
  constexpr double top = std::numeric_limits<double>::max();
  return fmin(fmax(x, -top), top);
}

// 1 / eps
KANTORCH_DEVICE double rate_of(double eps) { return 1 / fmax(eps, smallest_eps); }

// Fills problem k's numbers with one, NaN where input is bad and 0 where there is no mass.
template <class Team, class T>
KANTORCH_DEVICE void write_all(GibbsPasses<Team, T>& passes, double number, double eps, Index k,
                               const ScalingResult& result) {
  for (Index i = passes.team.rank(); i < passes.n; i += passes.team.size())
    result.f[k * passes.n + i] = result.row_sum[k * passes.n + i] = number;
  for (Index j = passes.team.rank(); j < passes.m; j += passes.team.size())
    result.g[k * passes.m + j] = result.col_sum[k * passes.m + j] = number;
  if (passes.team.rank() == 0) {
    result.eps[k] = eps;
    result.value[k] = result.value_linear[k] = result.marginal_error[k] = number;
    result.bound[k] = number;
  }
}

// From potentials in units of eps to the result of problem k but for n_iter and status, all measured on the potentials
// as they are returned. F and G of the passes are rounded as those are. Returns the marginal error.
template <class Team, class T>
KANTORCH_DEVICE double write_result(GibbsPasses<Team, T>& passes, const Masses& masses, double eps,
                                    Index k, const ScalingResult& result) {
  Team& team = passes.team;
  const Index n = passes.n, m = passes.m;
  double* const f_out = result.f + k * n;
  double* const g_out = result.g + k * m;
  double* const row = result.row_sum + k * n;
  double* const col = result.col_sum + k * m;
  const double unit = fmax(eps, smallest_eps);

  // P_ij = mass (a_i / mass) (b_j / mass_b) exp(F_i + G_j - rate C_ij), and the sums of f and g agree over the points
  // with mass: others may have potentials, of padding say, beside which theirs vanish.
  const double log_mass_b = log(masses.b);
  double excess = 0, points = 0;
  for (Index i = team.rank(); i < n; i += team.size()) {
    if (!(passes.a[i] > 0)) continue;
    excess -= passes.f[i] - log_mass_b;
    ++points;
  }
  for (Index j = team.rank(); j < m; j += team.size()) {
    if (!(passes.b[j] > 0)) continue;
    excess += passes.g[j];
    ++points;
  }
  excess = passes.reduce(excess, Sum{});
  const double shift = excess / passes.reduce(points, Sum{});
  double dual = 0;  // <a, F> + <b, G>
  for (Index i = team.rank(); i < n; i += team.size()) {
    f_out[i] = finite((passes.f[i] - log_mass_b + shift) * unit);
    passes.f[i] = to_units(f_out[i], passes.rate);
    dual += passes.a[i] * passes.f[i];
  }
  for (Index j = team.rank(); j < m; j += team.size()) {
    g_out[j] = finite((passes.g[j] - shift) * unit);
    passes.g[j] = to_units(g_out[j], passes.rate);
    dual += passes.b[j] * passes.g[j];
  }
  dual = passes.reduce(dual, Sum{});
  team.sync();

  // As on the CPU, a small mass comes first: the exponentials alone, 1 / mass in size, may take costs beyond the range.
  const double first = fmin(masses.b, 1.0), then = fmax(masses.b, 1.0);
  PlanSums sums = passes.measure(row, col, first);
  sums.mass *= then;
  sums.cost *= then;
  team.sync();
  double error = 0;
  for (Index i = team.rank(); i < n; i += team.size()) {
    const double sum = row[i] * then;
    error += fabs(sum - passes.a[i]);
    row[i] = sum * masses.a;
    passes.f[i] += log_mass_b;
  }
  for (Index j = team.rank(); j < m; j += team.size()) {
    const double sum = col[j] * then;
    error += fabs(sum - passes.b[j]);
    col[j] = sum * masses.a;
  }
  error = passes.reduce(error, Sum{});
  if (team.rank() == 0) {
    result.eps[k] = eps;
    result.marginal_error[k] = error;
    result.bound[k] = -infinity;
    result.value_linear[k] = masses.a * sums.cost;
    result.value[k] = masses.a * (unit * (dual - (sums.mass - 1)));
  }
  team.sync();
  return error;
}

template <class Team, class T>
KANTORCH_DEVICE double column_error(GibbsPasses<Team, T>& passes, const Masses& masses, Index k,
                                    const ScalingResult& result) {
  double error = 0;
  for (Index j = passes.team.rank(); j < passes.m; j += passes.team.size())
    error += fabs(result.col_sum[k * passes.m + j] / masses.a - passes.b[j]);
  return passes.reduce(error, Sum{});
}

// The largest potential of a point with mass.
template <class Team, class T>
KANTORCH_DEVICE double largest(GibbsPasses<Team, T>& passes, const double* potentials,
                               const double* weights, Index size) {
  double x = 0;
  for (Index i = passes.team.rank(); i < size; i += passes.team.size())
    if (weights[i] > 0) x = fmax(x, fabs(potentials[i]));
  return passes.reduce(x, Max{});
}

template <class Team, class T>
KANTORCH_DEVICE bool has_digits(GibbsPasses<Team, T>& passes, const Masses& masses, double eps,
                                Index k, const ScalingResult& result) {
  const Index n = passes.n, m = passes.m;
  const double potential = fmax(largest(passes, result.f + k * n, passes.a, n),
                                largest(passes, result.g + k * m, passes.b, m));
  return value_has_digits(result.value[k], result.value_linear[k], masses.a, eps, n < m ? n : m,
                          result.marginal_error[k], potential);
}

// Where the rounding of the written potentials alone, in units of eps, makes the sums of the plan anything: writes the
// result again, at the smallest eps at which they still determine a plan, as on the CPU, and returns true. F and G of
// the passes are overwritten.
template <class Team, class T>
KANTORCH_DEVICE bool coarsen_result(GibbsPasses<Team, T>& passes, const Masses& masses, double eps,
                                    Index k, const ScalingResult& result) {
  constexpr int iterations = 16;
  Team& team = passes.team;
  const Index n = passes.n, m = passes.m;
  const double* const g_out = result.g + k * m;
  const double coarse = potential_digits * largest(passes, result.f + k * n, passes.a, n) +
                        potential_digits * largest(passes, g_out, passes.b, m);
  if (column_error(passes, masses, k, result) <= column_noise || !(coarse > eps)) return false;
  passes.rate = rate_of(coarse);
  for (Index i = team.rank(); i < passes.n; i += team.size()) passes.f[i] = 0;
  for (Index j = team.rank(); j < passes.m; j += team.size())
    passes.g[j] = to_units(g_out[j], passes.rate);
  team.sync();
  for (int t = 0; t < iterations; ++t) {
    passes.update_rows();
    double error;
    passes.update_columns(1, &error);
  }
  write_result(passes, masses, coarse, k, result);
  return true;
}

// Where even that plan is anything: the strength to solve the problem with instead; 0 where the result stands.
template <class Team, class T>
KANTORCH_DEVICE double raise_strength(GibbsPasses<Team, T>& passes, const Masses& masses,
                                      double strength, Index k, const ScalingResult& result) {
  const bool noise = !(column_error(passes, masses, k, result) <= column_noise);
  if (!noise && !(result.eps[k] > strength)) return 0;
  const double potential = largest(passes, result.g + k * passes.m, passes.b, passes.m);
  return raised_strength(strength, result.eps[k], noise, passes.cost_range().size(), potential);
}

}  // namespace kantorch::cuda
