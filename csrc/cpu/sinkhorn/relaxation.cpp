#include "cpu/sinkhorn/relaxation.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace kantorch::cpu {
namespace {

// The closer omega is to 2, the longer the iteration takes to show its rate.
double window(double omega) noexcept { return std::max(8.0, 1.5 / (2 - omega)); }

}  // namespace

bool Relaxation::take(double error, double target, double* left) noexcept {
  if (!std::isfinite(error)) {
    age_ = -skip;
    *left = std::numeric_limits<double>::infinity();
    return ++unknown_ % patience == 0;
  }
  if (age_ == 0) start_ = error;
  const double passed = window(omega_);
  if (static_cast<double>(age_++) < passed) return false;
  const double lambda = std::pow(error / start_, 1 / passed);
  start_ = error;
  age_ = 1;
  if (!(lambda < 1)) {
    // Far from the solution a relaxed iteration may diverge; the plain one cannot.
    *left = std::numeric_limits<double>::infinity();
    omega_ = 1 + (omega_ - 1) / 2;
    rho_ = 0;
    age_ = -skip;
    return true;
  }
  double rate = lambda, at_least = 0;
  if (lambda > 1.02 * (omega_ - 1)) {
    const double s = lambda + omega_ - 1;
    rho_ = std::max(rho_, std::min(s * s / (lambda * omega_ * omega_), 1 - 1e-7));
    const double best = 2 / (1 + std::sqrt(1 - rho_));
    if (best > omega_ + 0.1 * (2 - omega_)) {
      omega_ = best;
      age_ = -skip;
      at_least = window(omega_);  // until the error falls
    }
    rate = std::min(rate, std::max(omega_ - 1, 1e-3));
  }
  *left = std::max(std::log(target / error) / std::log(rate), at_least);
  return true;
}

}  // namespace kantorch::cpu
