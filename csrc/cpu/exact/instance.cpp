#include "cpu/exact/instance.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/compensated_sum.hpp"

namespace kantorch::cpu::network {
namespace {

double sum_of(const double* x, Index size, double scale) noexcept {
  CompensatedSum sum;
  for (Index i = 0; i < size; ++i) sum.add(x[i] * scale);
  return sum.total();
}

bool all_equal(const double* x, Index size) noexcept {
  return std::all_of(x, x + size, [x](double y) { return y == x[0]; });
}

template <class Scaled>
void round_weights(const double* given, Index size, const Scaled& scaled,
                   std::vector<double>& weights, std::vector<Node>& points) {
  for (Index i = 0; i < size; ++i) {
    const double weight = std::nearbyint(scaled(given[i]));
    if (!(weight > 0)) continue;
    weights.push_back(weight);
    points.push_back(static_cast<Node>(i));
  }
}

}  // namespace

template <class T>
bool Instance<T>::prepare(const MatrixView<T>& given_cost, const double* given_a,
                          const double* given_b, const Cpu& exec) {
  cost = given_cost;
  const Index n = cost.rows;
  const Index m = cost.cols;
  rows.clear();
  cols.clear();
  a.clear();
  b.clear();
  mass = 0;
  b_scale = 1;

  // Powers of two keep sums of very large or very small weights in range.
  const double largest =
      std::max(*std::max_element(given_a, given_a + n), *std::max_element(given_b, given_b + m));
  if (!(largest > 0)) return true;
  int magnitude = 0;
  std::frexp(largest, &magnitude);
  const double unit = std::ldexp(1.0, std::clamp(-magnitude, -1000, 1000));
  const double sum_a = sum_of(given_a, n, unit);
  const double sum_b = sum_of(given_b, m, unit);
  mass = sum_a / unit;
  if (!(sum_a > 0 && sum_b > 0)) return true;
  b_scale = sum_a / sum_b;
  if (all_equal(given_a, n) && all_equal(given_b, m)) {
    // Small integers keep every tie of the uniform problem.
    round_weights(given_a, n, [m](double) { return static_cast<double>(m); }, a, rows);
    round_weights(given_b, m, [n](double) { return static_cast<double>(n); }, b, cols);
  } else {
    // Equal given weights shall stay equal: a ratio at the level of rounding is none.
    const double rounding = static_cast<double>(n + m) * std::numeric_limits<double>::epsilon();
    const double ratio = std::abs(b_scale - 1) <= rounding ? 1 : b_scale;
    std::frexp(std::max(sum_a, sum_b), &magnitude);
    const double integers = std::ldexp(1.0, 51 - magnitude);
    round_weights(given_a, n, [=](double x) { return x * unit * integers; }, a, rows);
    round_weights(given_b, m, [=](double x) { return x * unit * integers * ratio; }, b, cols);
    // What rounding has left over is nothing to the largest weight of the smaller side.
    double excess = 0;
    for (const double weight : a) excess += weight;
    for (const double weight : b) excess -= weight;
    auto& poorer = excess > 0 ? b : a;
    *std::max_element(poorer.begin(), poorer.end()) += std::abs(excess);
  }
  return set_scale(exec);
}

template <class T>
bool Instance<T>::set_scale(const Cpu& exec) {
  const auto& kernels = reduced_cost_table().rows(T{});
  lows.resize(rows.size());
  std::vector<T> highs(rows.size());
  const bool complete = for_rows(*this, exec, [&](Index i, const T* row) {
    lows[i] = highs[i] = row[0];
    kernels.range(row, m(), &lows[i], &highs[i]);
  });
  if (!complete) return false;
  const T low = *std::min_element(lows.begin(), lows.end());
  const T high = *std::max_element(highs.begin(), highs.end());

  const double half_span = static_cast<double>(high) / 2 - static_cast<double>(low) / 2;
  exponent = 0;
  if (half_span > 0) {
    std::frexp(half_span, &exponent);
    exponent = std::clamp(exponent + 1, -1022, 1023);
  }
  scale = std::ldexp(1.0, -exponent);
  lowest = static_cast<double>(low);
  highest = static_cast<double>(high);
  base = lowest * scale;
  return true;
}

template struct Instance<float>;
template struct Instance<double>;

}  // namespace kantorch::cpu::network
