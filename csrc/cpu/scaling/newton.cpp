#include "cpu/scaling/newton.hpp"

#include <algorithm>
#include <cmath>

namespace kantorch::cpu {
namespace {

constexpr double first_step =
    8;  // bound on the change of a potential in units of eps, as long as none failed
constexpr double shortest_step = 1e-3;
constexpr double ground =
    1e-14;                     // keeps parts that exchange less than rounding errors from drifting
constexpr Index patience = 8;  // iterations without improvement

// Of points with mass: others have potentials of any size, which change no plan.
double largest(const double* x, const double* weights, Index size) noexcept {
  double top = 0;
  for (Index i = 0; i < size; ++i)
    if (weights[i] > 0) top = std::max(top, std::abs(x[i]));
  return top;
}

}  // namespace

template <class T>
Newton<T>::Newton(Arena& arena, GibbsPasses<T>& passes, Index n, Index m, double* weights) noexcept
    : passes_(passes),
      n_(n),
      m_(m),
      schur_(arena, passes, n, m, weights),
      row_(arena.take<double>(n)),
      col_(arena.take<double>(m)),
      x_(arena.take<double>(n)),
      y_(arena.take<double>(m)),
      u_(arena.take<double>(n)),
      v_(arena.take<double>(m)),
      f_from_(arena.take<double>(n)),
      g_from_(arena.take<double>(m)),
      f_best_(arena.take<double>(n)),
      g_best_(arena.take<double>(m)) {}

template <class T>
double Newton<T>::cost(Index n, Index m) noexcept {
  const double small = static_cast<double>(std::min(n, m)),
               large = static_cast<double>(std::max(n, m));
  return 5 * (25 + 0.3 * small * (1 + small / (3 * large)));
}

template <class T>
bool Newton<T>::settle(double* f, double* g, double* error, double* dual) noexcept {
  PlanSums sums;
  if (!passes_.iterate(f, g) || !passes_.measure(f, g, row_, col_, &sums)) return false;
  *error = *dual = 0;
  for (Index i = 0; i < n_; ++i) {
    x_[i] = a_[i] - row_[i];
    *error += std::abs(x_[i]);
    *dual += a_[i] * f[i];
  }
  for (Index j = 0; j < m_; ++j) {
    y_[j] = b_[j] - col_[j];
    *error += std::abs(y_[j]);
    *dual += b_[j] * g[j];
  }
  return true;
}

template <class T>
bool Newton<T>::run(const double* a, const double* b, double* f, double* g, double target,
                    Index limit, Index* made, bool* stalled) noexcept {
  a_ = a;
  b_ = b;
  // A constant that is common to F and -G costs digits and means nothing.
  double shift = 0, points = 0;
  for (Index i = 0; i < n_; ++i) {
    if (!(a[i] > 0)) continue;
    shift += f[i];
    ++points;
  }
  for (Index j = 0; j < m_; ++j) {
    if (!(b[j] > 0)) continue;
    shift -= g[j];
    ++points;
  }
  shift /= points;
  for (Index i = 0; i < n_; ++i) f[i] -= shift;
  for (Index j = 0; j < m_; ++j) g[j] += shift;

  double error, dual;
  *made = 0;
  *stalled = false;
  if (!settle(f, g, &error, &dual)) return false;
  double best = error, size = first_step;
  std::copy_n(f, n_, f_best_);
  std::copy_n(g, m_, g_best_);
  for (Index idle = 0; best > target && *made < limit && !*stalled; ++*made) {
    std::copy_n(f, n_, f_from_);
    std::copy_n(g, m_, g_from_);
    if (!schur_.factor({a, b, f_from_, g_from_}, row_, col_, ground, 0)) return false;
    if (!schur_.solve(x_, y_, u_, v_)) return false;
    // Where the potentials' rounding errors alone change the plan by orders of magnitude, there is
    // nothing to improve.
    if (std::max(largest(f, a, n_), largest(g, b, m_)) > 1e16) {
      *stalled = true;
      break;
    }
    const double length = std::max(largest(u_, a, n_), largest(v_, b, m_));
    double step = std::min(1.0, size / length);
    if (!(step > 0)) step = 0;
    const bool bounded = step < 1;
    Index trials = 0;
    // The dual is known to a rounding error of its terms.
    double noise = 0;
    for (Index i = 0; i < n_; ++i) noise += a[i] * std::abs(f[i]);
    for (Index j = 0; j < m_; ++j) noise += b[j] * std::abs(g[j]);
    noise *= 1e-14;
    const double dual_from = dual;
    for (;; step /= 4, ++trials) {
      for (Index i = 0; i < n_; ++i) f[i] = f_from_[i] + step * u_[i];
      for (Index j = 0; j < m_; ++j) g[j] = g_from_[j] + step * v_[j];
      if (!settle(f, g, &error, &dual)) return false;
      if (dual >= dual_from - noise || step == 0) break;
      if (step * length < shortest_step)
        step = 0;  // the direction is useless; the plain iteration is not
    }
    if (trials > 0) {
      size = std::max(first_step, step * length);
    } else if (bounded) {
      size *= 2;
    }
    idle = error < 0.9 * best || dual > dual_from + 10 * noise ? 0 : idle + 1;
    *stalled = idle >= patience;
    if (error < best) {
      best = error;
      std::copy_n(f, n_, f_best_);
      std::copy_n(g, m_, g_best_);
    }
  }
  std::copy_n(f_best_, n_, f);
  std::copy_n(g_best_, m_, g);
  return true;
}

template class Newton<float>;
template class Newton<double>;

}  // namespace kantorch::cpu
