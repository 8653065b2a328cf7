#include "cpu/sinkhorn/large_reg.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/scaling/bound.hpp"

namespace kantorch::cpu {
namespace {

// Of the spread of costs and of potentials to start with, in units of reg. At this size the iteration elsewhere
// has lost few digits, even in float.
constexpr double largest_spread = 0x1p-8;

// Changes of potentials beside the spread that are their rounding, and how many iterations come that far.
constexpr double settled = 0x1p-50;
constexpr Index most_iterations = 8;

double less_one(double x) noexcept {  // exp(x) - 1
  if (!(std::abs(x) < 0x1p-5)) return std::expm1(x);
  double sum = 1;
  for (int k = 9; k > 1; --k) sum = 1 + x / k * sum;
  return x * sum;
}

// Where points without mass are so far from the others that a sum of exponentials is no longer near 1, or beyond
// the numbers, its logarithm has no digits to lose.
bool is_far(double sum_less_one) noexcept { return !(std::abs(sum_less_one) < 0.5); }

}  // namespace

template <class T>
bool LargeReg<T>::fits(bool* does) noexcept {
  *does = false;
  const double rate = passes_.rate();
  const double* a = problem_.a;
  const double* b = problem_.b;
  const auto is_small = [&](double low, double high) {
    return high * rate - low * rate <= largest_spread;
  };
  // One row tells most problems apart.
  double low = std::numeric_limits<double>::infinity(), high = -low;
  double lowest = low, highest = high, mean = 0;
  const T* row = passes_.cost_rows().row(0, 0);
  for (Index j = 0; j < problem_.m; ++j) {
    if (!(b[j] > 0)) continue;
    low = std::min(low, static_cast<double>(row[j]));
    high = std::max(high, static_cast<double>(row[j]));
    lowest = std::min(lowest, g_[j]);
    highest = std::max(highest, g_[j]);
    mean += b[j] * g_[j];
  }
  if (a[0] > 0 && !is_small(low, high)) return true;
  if (!(highest - lowest <= largest_spread)) return true;
  CostRange range;
  if (!cost_range(passes_.cost_rows(), a, b, passes_.exec(), &range)) return false;
  *does = is_small(range.low, range.high);
  low_ = range.low;
  spread_ = std::max(range.high * rate - range.low * rate, highest - lowest);
  for (Index j = 0; j < problem_.m && *does; ++j) g_[j] -= mean;
  return true;
}

// One iteration, and by how much it changed G.
template <class T>
bool LargeReg<T>::step(double* change) noexcept {
  const Index m = problem_.m;
  const double rate = passes_.rate();
  const double* a = problem_.a;
  const double* b = problem_.b;
  const RowBlocks& blocks = passes_.blocks();
  for (Index block = 0; block < blocks.count; ++block)
    std::fill_n(passes_.block_sum(block), m, 0.0);
  const bool finished = passes_.for_cost_rows([&](Index i, Index block, const T* c) {
    double* x = passes_.block_row(block);
    double sum = 0;
    for (Index j = 0; j < m; ++j) {
      x[j] = (static_cast<double>(c[j]) - low_) * rate;
      if (b[j] > 0) sum += b[j] * less_one(g_[j] - x[j]);
    }
    f_[i] = -std::log1p(sum);
    if (!(a[i] > 0)) {
      if (is_far(sum)) f_[i] = std::numeric_limits<double>::quiet_NaN();
      return;
    }
    double* sums = passes_.block_sum(block);
    for (Index j = 0; j < m; ++j) sums[j] += a[i] * less_one(f_[i] - x[j]);
  });
  if (!finished) return false;
  double* sums = passes_.block_row(0);
  passes_.reduce(sums);
  *change = 0;
  for (Index j = 0; j < m; ++j) {
    const double before = g_[j];
    g_[j] = -std::log1p(sums[j]);
    if (b[j] > 0) {
      *change = std::max(*change, std::abs(g_[j] - before));
    } else if (is_far(sums[j])) {
      g_[j] = std::numeric_limits<double>::quiet_NaN();
    }
  }
  return true;
}

// The potentials of points that are far. The sums of the result are scratch until it is written.
template <class T>
bool LargeReg<T>::settle_far(Index k, const ScalingResult& result) noexcept {
  const auto settle = [](const double* from, Index size, double* to) {
    for (Index i = 0; i < size; ++i)
      if (std::isnan(to[i])) to[i] = from[i];
  };
  const auto any = [](const double* potentials, Index size) {
    return std::any_of(potentials, potentials + size, [](double x) { return std::isnan(x); });
  };
  const Index n = problem_.n, m = problem_.m;
  const bool far_row = any(f_, n), far_col = any(g_, m);
  double* rows = result.row_sum + k * n;
  double* cols = result.col_sum + k * m;
  // Points without mass do not count in each other's sums.
  for (Index i = 0; i < n; ++i) rows[i] = std::isnan(f_[i]) ? 0 : f_[i];
  for (Index j = 0; j < m; ++j) cols[j] = std::isnan(g_[j]) ? 0 : g_[j];
  if (far_col) {
    if (!passes_.update_columns(rows, cols)) return false;
    settle(cols, m, g_);
  }
  if (far_row) {
    for (Index j = 0; j < m; ++j) cols[j] = g_[j];
    if (!passes_.update_rows(rows, cols)) return false;
    settle(rows, n, f_);
  }
  return true;
}

template <class T>
bool LargeReg<T>::solve(double tol, Index max_iter, Index k, const ScalingResult& result) noexcept {
  const bool fixed = !(tol > 0);
  const Index most = fixed ? max_iter : std::min(max_iter, most_iterations);
  Index made = 0;
  for (double change = std::numeric_limits<double>::infinity();
       made < most && change > settled * spread_; ++made) {
    if (!step(&change)) return false;
  }
  for (Index i = 0; i < problem_.n; ++i) f_[i] += low_ * passes_.rate();
  if (!settle_far(k, result) || !write_result(problem_, passes_, f_, g_, k, result)) return false;
  // The plan has the columns' mass, to the last digit; reg times its rounding would be no small part of the value.
  if (made > 0) {
    double dual = 0;
    for (Index i = 0; i < problem_.n; ++i) dual += problem_.a[i] * result.f[k * problem_.n + i];
    for (Index j = 0; j < problem_.m; ++j) dual += problem_.b[j] * result.g[k * problem_.m + j];
    result.value[k] = problem_.mass * dual;
  }
  const bool reached = result.marginal_error[k] <= tol;
  result.n_iter[k] = fixed ? max_iter : made;
  result.status[k] = static_cast<std::int32_t>(fixed     ? Status::fixed_iterations
                                               : reached ? Status::converged
                                                         : Status::max_iterations);
  return true;
}

template class LargeReg<float>;
template class LargeReg<double>;

}  // namespace kantorch::cpu
