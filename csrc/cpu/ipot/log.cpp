#include "cpu/ipot/log.hpp"

#include <algorithm>
#include <cmath>

namespace kantorch::cpu {
namespace {

constexpr double largest_potential = 1e300;

// x becomes 2 x - last, and last what x was.
void extrapolate(double* x, double* last, Index size) noexcept {
  for (Index i = 0; i < size; ++i) {
    const double now = x[i];
    x[i] = std::clamp(2 * now - last[i], -largest_potential, largest_potential);
    last[i] = now;
  }
}

}  // namespace

template <class T>
IpotLog<T>::IpotLog(Arena& arena, GibbsPasses<T>& passes, Index n, Index m, Index dims) noexcept
    : passes_(passes),
      form_(arena, passes, n, m, dims),
      n_(n),
      m_(m),
      f_(arena.take<double>(n)),
      g_(arena.take<double>(m)),
      f_last_(arena.take<double>(n)),
      g_last_(arena.take<double>(m)) {}

template <class T>
bool IpotLog<T>::start(const PointsView<T>& points, const double* a, const double* b, double beta,
                       const double* g_init, const Cpu& exec) noexcept {
  a_ = a;
  b_ = b;
  t_ = 0;
  rate_ = rate_of(beta);
  passes_.bind(points, a, b, exec);
  std::fill_n(f_, n_, 0.0);
  std::fill_n(f_last_, n_, 0.0);
  // V_0 = 1, and the first column scaling is exp(g_init / beta).
  for (Index j = 0; j < m_; ++j) {
    g_last_[j] = b[j] > 0 ? -std::log(b[j]) : 0;
    const double first = g_init == nullptr ? 0 : g_init[j] * rate_;
    g_[j] = std::clamp(g_last_[j] + first, -largest_potential, largest_potential);
  }
  form_.start(a_, b_, f_, g_);
  return true;
}

template <class T>
bool IpotLog<T>::step() noexcept {
  ++t_;
  if (t_ > 1) {
    extrapolate(f_, f_last_, n_);
    extrapolate(g_, g_last_, m_);
  }
  passes_.set_rate(static_cast<double>(t_) * rate_);
  double error;
  return form_.step(1, &error);
}

template <class T>
void IpotLog<T>::potentials(double* f, double* g) const noexcept {
  std::copy_n(f_, n_, f);
  std::copy_n(g_, m_, g);
}

template class IpotLog<float>;
template class IpotLog<double>;

}  // namespace kantorch::cpu
