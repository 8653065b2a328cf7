#include "cpu/scaling/result.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/scaling/bound.hpp"

namespace kantorch::cpu {
namespace {

double finite(double x) noexcept {
  constexpr double top = std::numeric_limits<double>::max();
  return std::clamp(x, -top, top);
}

double column_error(const Normalised& problem, Index k, const ScalingResult& result) noexcept {
  double error = 0;
  for (Index j = 0; j < problem.m; ++j)
    error += std::abs(result.col_sum[k * problem.m + j] / problem.mass - problem.b[j]);
  return error;
}

// The largest potential of a point with mass.
double largest(const double* potentials, const double* weights, Index size) noexcept {
  double x = 0;
  for (Index i = 0; i < size; ++i) {
    if (weights[i] > 0) x = std::max(x, std::abs(potentials[i]));
  }
  return x;
}

}  // namespace

double to_units(double x, double rate) noexcept { return std::clamp(x * rate, -1e300, 1e300); }

template <class T>
bool write_result(const Normalised& problem, GibbsPasses<T>& passes, double* f, double* g, Index k,
                  const ScalingResult& result) noexcept {
  const Index n = problem.n, m = problem.m;
  const double eps = std::max(problem.eps, smallest_eps), mass = problem.mass;
  double* f_out = result.f + k * n;
  double* g_out = result.g + k * m;
  double* row = result.row_sum + k * n;
  double* col = result.col_sum + k * m;

  // P_ij = mass (a_i / mass) (b_j / mass_b) exp(F_i + G_j - C_ij / eps) = a_i b_j exp((f_i + g_j -
  // C_ij) / eps)
  const double log_mass_b = std::log(problem.mass_b);
  // Over points with mass: others may have potentials, of padding say, beside which theirs vanish.
  double excess = 0;
  Index points = 0;
  for (Index i = 0; i < n; ++i) {
    if (!(problem.a[i] > 0)) continue;
    excess -= f[i] - log_mass_b;
    ++points;
  }
  for (Index j = 0; j < m; ++j) {
    if (!(problem.b[j] > 0)) continue;
    excess += g[j];
    ++points;
  }
  const double shift = excess / static_cast<double>(points);
  for (Index i = 0; i < n; ++i) f_out[i] = finite((f[i] - log_mass_b + shift) * eps);
  for (Index j = 0; j < m; ++j) g_out[j] = finite((g[j] - shift) * eps);

  const double rate = passes.rate();
  double dual = 0;  // <a, F> + <b, G>
  for (Index i = 0; i < n; ++i) {
    const double x = to_units(f_out[i], rate);
    dual += problem.a[i] * x;
    f[i] = x;
  }
  for (Index j = 0; j < m; ++j) {
    g[j] = to_units(g_out[j], rate);
    dual += problem.b[j] * g[j];
  }
  PlanSums sums;
  // What was rounded is what is measured; so mass_b is a factor and not a shift of f, which a large
  // potential would swallow. A small one comes first: the exponentials alone, 1 / mass_b in size, may
  // take costs beyond the range.
  const double first = std::min(problem.mass_b, 1.0), then = std::max(problem.mass_b, 1.0);
  if (!passes.measure(f, g, row, col, &sums, first)) return false;
  sums.mass *= then;
  sums.cost *= then;

  double error = 0;
  for (Index i = 0; i < n; ++i) {
    f[i] += log_mass_b;
    row[i] *= then;
    error += std::abs(row[i] - problem.a[i]);
    row[i] *= mass;
  }
  for (Index j = 0; j < m; ++j) {
    col[j] *= then;
    error += std::abs(col[j] - problem.b[j]);
    col[j] *= mass;
  }
  result.eps[k] = problem.eps;
  result.marginal_error[k] = error;
  result.bound[k] = -std::numeric_limits<double>::infinity();
  result.value_linear[k] = mass * sums.cost;
  result.value[k] = mass * (eps * (dual - (sums.mass - 1)));
  return true;
}

bool has_digits(const Normalised& problem, Index k, const ScalingResult& result) noexcept {
  const double potential = std::max(largest(result.f + k * problem.n, problem.a, problem.n),
                                    largest(result.g + k * problem.m, problem.b, problem.m));
  return value_has_digits(result.value[k], result.value_linear[k], problem.mass, problem.eps,
                          std::min(problem.n, problem.m), result.marginal_error[k], potential);
}

template <class T>
bool coarsen_result(const Normalised& problem, GibbsPasses<T>& passes, double* f, double* g,
                    Index k, const ScalingResult& result, bool* coarser) noexcept {
  constexpr int iterations = 16;
  const double* g_out = result.g + k * problem.m;
  Normalised coarse = problem;
  coarse.eps = potential_digits * largest(result.f + k * problem.n, problem.a, problem.n) +
               potential_digits * largest(g_out, problem.b, problem.m);
  *coarser = !(column_error(problem, k, result) <= column_noise) && coarse.eps > problem.eps;
  if (!*coarser) return true;
  const double rate = rate_of(coarse.eps);
  passes.set_rate(rate);
  for (Index j = 0; j < problem.m; ++j) g[j] = to_units(g_out[j], rate);
  std::fill_n(f, problem.n, 0.0);
  for (int t = 0; t < iterations; ++t) {
    if (!passes.iterate(f, g)) return false;
  }
  return write_result(coarse, passes, f, g, k, result);
}

template <class T>
bool raise_strength(const Normalised& problem, GibbsPasses<T>& passes, double strength, Index k,
                    const ScalingResult& result, double* raised) noexcept {
  *raised = 0;
  const bool noise = !(column_error(problem, k, result) <= column_noise);
  if (!noise && !(result.eps[k] > strength)) return true;
  CostRange range;
  if (!cost_range(passes.cost_rows(), problem.a, problem.b, passes.exec(), &range)) return false;
  const double potential = largest(result.g + k * problem.m, problem.b, problem.m);
  *raised = raised_strength(strength, result.eps[k], noise, range.size(), potential);
  return true;
}

void write_empty_result(const Normalised& problem, Index k, const ScalingResult& result) noexcept {
  std::fill_n(result.f + k * problem.n, problem.n, 0.0);
  std::fill_n(result.g + k * problem.m, problem.m, 0.0);
  std::fill_n(result.row_sum + k * problem.n, problem.n, 0.0);
  std::fill_n(result.col_sum + k * problem.m, problem.m, 0.0);
  result.eps[k] = problem.eps;
  result.value[k] = result.value_linear[k] = result.marginal_error[k] = result.bound[k] = 0;
}

template bool raise_strength(const Normalised&, GibbsPasses<float>&, double, Index,
                             const ScalingResult&, double*) noexcept;
template bool raise_strength(const Normalised&, GibbsPasses<double>&, double, Index,
                             const ScalingResult&, double*) noexcept;
template bool coarsen_result(const Normalised&, GibbsPasses<float>&, double*, double*, Index,
                             const ScalingResult&, bool*) noexcept;
template bool coarsen_result(const Normalised&, GibbsPasses<double>&, double*, double*, Index,
                             const ScalingResult&, bool*) noexcept;
template bool write_result(const Normalised&, GibbsPasses<float>&, double*, double*, Index,
                           const ScalingResult&) noexcept;
template bool write_result(const Normalised&, GibbsPasses<double>&, double*, double*, Index,
                           const ScalingResult&) noexcept;

}  // namespace kantorch::cpu
