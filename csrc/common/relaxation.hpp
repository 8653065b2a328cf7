// The relaxation factor of Sinkhorn's iteration, from the contraction that is observed.
//
// Close to the solution the iteration is a Gauss-Seidel iteration on a symmetric system, and for
// such systems the rate lambda of the relaxed iteration and the rate rho of the plain one are tied
// by (lambda + omega - 1)^2 = lambda omega^2 rho, with the best omega = 2 / (1 + sqrt(1 - rho))
// (Young 1954; for Sinkhorn Thibault, Chizat, Dossal, Papadakis, Algorithms 14, 2021, and Lehmann
// et al., Optim. Lett. 16, 2022).
#pragma once

#include <cmath>
#include <limits>

#include "common/host_device.hpp"
#include "core/view.hpp"

namespace kantorch {

class Relaxation {
 public:
  KANTORCH_BOTH double omega() const noexcept { return omega_; }

  // Takes the error of the next iteration. Returns true at the end of a window of iterations, when
  // `left` holds the number that is expected to bring the error to `target`, infinite without
  // progress.
  KANTORCH_BOTH bool take(double error, double target, double* left) noexcept;

 private:
  // The closer omega is to 2, the longer the iteration takes to show its rate.
  KANTORCH_BOTH static double window(double omega) noexcept {
    return std::fmax(8.0, 1.5 / (2 - omega));
  }

  // On a GPU pow is a call, across which a kernel's registers would have to be saved.
  KANTORCH_BOTH static double power(double x, double y) noexcept {
#ifdef __CUDA_ARCH__
    return exp(y * log(x));
#else
    return std::pow(x, y);
#endif
  }

  double omega_ = 1;
  double rho_ = 0;
  double start_ = 0;  // the error at the start of the window
  Index age_ =
      -skip;  // iterations in the window; negative while the last change of omega still shows
  Index unknown_ = 0;  // iterations of unknown error: the potentials still move far
  static constexpr Index skip = 4;
  static constexpr Index patience = 32;
};

KANTORCH_BOTH bool Relaxation::take(double error, double target, double* left) noexcept {
  if (!std::isfinite(error)) {
    age_ = -skip;
    *left = std::numeric_limits<double>::infinity();
    return ++unknown_ % patience == 0;
  }
  if (age_ == 0) start_ = error;
  const double passed = window(omega_);
  if (static_cast<double>(age_++) < passed) return false;
  const double lambda = power(error / start_, 1 / passed);
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
    rho_ = std::fmax(rho_, std::fmin(s * s / (lambda * omega_ * omega_), 1 - 1e-7));
    const double best = 2 / (1 + std::sqrt(1 - rho_));
    if (best > omega_ + 0.1 * (2 - omega_)) {
      omega_ = best;
      age_ = -skip;
      at_least = window(omega_);  // until the error falls
    }
    rate = std::fmin(rate, std::fmax(omega_ - 1, 1e-3));
  }
  *left = std::fmax(std::log(target / error) / std::log(rate), at_least);
  return true;
}

}  // namespace kantorch
