// A lower bound on the optimal <P, C> of a problem from any potential f: g' = the c-transform of f over points with mass,
// f' = that of g', and the dual's value there, rounded down.
#pragma once

#include <limits>

#include "cuda/scaling/problem.hpp"

namespace kantorch::cuda {

// For the lanes of a block; g' is kept in scratch.
template <class Team, class T>
class DualValue {
 public:
  KANTORCH_DEVICE DualValue(Team& team, TeamReduce<Team>& reduce, const CostOf<T>& cost, Index n,
                            Index m, const T* a, const T* b, double* g_new)
      : team_(team), reduce_(reduce), cost_(cost), n_(n), m_(m), a_(a), b_(b), g_new_(g_new) {}

  KANTORCH_DEVICE double operator()(const double* f) {
    for (Index j = team_.rank(); j < m_; j += team_.size()) {
      double low = top;
      for (Index i = 0; i < n_; ++i)
        if (a_[i] > 0) low = fmin(low, static_cast<double>(cost_(i, j)) - f[i]);
      g_new_[j] = b_[j] > 0 ? fmax(low, -top) : -top;  // without mass it constrains nothing
    }
    double value = rounded_down();
    if (std::isfinite(value)) return value;
    // Costs or potentials at the end of the range: rows alone give a bound as well.
    team_.sync();
    for (Index j = team_.rank(); j < m_; j += team_.size()) g_new_[j] = b_[j] > 0 ? 0 : -top;
    value = rounded_down();
    return std::isnan(value) ? -infinity : value;
  }

 private:
  static constexpr double top = std::numeric_limits<double>::max();

  // <a, f'> + <b, g'> mass(a) / mass(b), less all that rounding may have added: any sum of k terms is off by at most
  // k 2^-53 times the sum of their sizes, and a product that underflows by what is lost below the range.
  KANTORCH_DEVICE double rounded_down() {
    team_.sync();
    double of_rows = 0, of_cols = 0, size = 0, lost = 0, mass_a = 0, mass_b = 0;
    for (Index i = team_.warp(); i < n_; i += team_.warps()) {
      double low = top;
      for (Index j = team_.lane(); j < m_; j += warp_size)
        low = fmin(low, static_cast<double>(cost_(i, j)) - g_new_[j]);
      low = reduce_lanes(team_, low, Min{});
      const double weight = static_cast<double>(a_[i]);
      if (team_.lane() != 0 || !(weight > 0)) continue;
      mass_a += weight;
      of_rows += weight * low;
      size += fabs(weight * low);
      lost += underflows(weight, low) ? 1 : 0;
    }
    for (Index j = team_.rank(); j < m_; j += team_.size()) {
      const double weight = static_cast<double>(b_[j]);
      if (!(weight > 0)) continue;
      mass_b += weight;
      of_cols += weight * g_new_[j];
      size += 2 * fabs(weight * g_new_[j]);
      lost +=
          underflows(weight, g_new_[j]) ? 4 : 0;  // and once more beside the ratio of the masses
    }
    of_rows = reduce_(of_rows, Sum{});
    of_cols = reduce_(of_cols, Sum{});
    size = reduce_(size, Sum{});
    lost = reduce_(lost, Sum{});
    mass_a = reduce_(mass_a, Sum{});
    mass_b = reduce_(mass_b, Sum{});
    if (!(mass_a > 0 && mass_b > 0)) return 0;
    const double terms = static_cast<double>(3 * (n_ + m_) + 16);
    const double value = of_rows + of_cols * (mass_a / mass_b);
    return value - (terms * 0x1p-53 * size + lost * std::numeric_limits<double>::denorm_min());
  }

  KANTORCH_DEVICE static bool underflows(double weight, double x) {
    return x != 0 && fabs(weight * x) < 0x1p-960;
  }

  Team& team_;
  TeamReduce<Team>& reduce_;
  const CostOf<T>& cost_;
  const Index n_, m_;
  const T* const a_;
  const T* const b_;
  double* const g_new_;
};

// A bound that stays one for the true distances between points of `dims` coordinates: those are smaller than computed by
// the rounding of their sums of products at most, and not negative.
template <class T>
KANTORCH_DEVICE double below_rounded_distances(double bound, double mass, Index dims) {
  const double steps = static_cast<double>(dims + 6);
  bound -= steps * mass * static_cast<double>(std::numeric_limits<T>::denorm_min());
  return bound > 0
             ? bound * (1 - steps * static_cast<double>(std::numeric_limits<T>::epsilon()) / 2)
             : bound;
}

}  // namespace kantorch::cuda
