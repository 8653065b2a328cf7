// The relaxation factor of Sinkhorn's iteration, from the contraction that is observed.
//
// Close to the solution the iteration is a Gauss-Seidel iteration on a symmetric system, and for
// such systems the rate lambda of the relaxed iteration and the rate rho of the plain one are tied
// by (lambda + omega - 1)^2 = lambda omega^2 rho, with the best omega = 2 / (1 + sqrt(1 - rho))
// (Young 1954; for Sinkhorn Thibault, Chizat, Dossal, Papadakis, Algorithms 14, 2021, and Lehmann
// et al., Optim. Lett. 16, 2022).
#pragma once

#include "core/view.hpp"

namespace kantorch::cpu {

class Relaxation {
 public:
  double omega() const noexcept { return omega_; }

  // Takes the error of the next iteration. Returns true at the end of a window of iterations, when
  // `left` holds the number that is expected to bring the error to `target`, infinite without
  // progress.
  bool take(double error, double target, double* left) noexcept;

 private:
  double omega_ = 1;
  double rho_ = 0;
  double start_ = 0;  // the error at the start of the window
  Index age_ =
      -skip;  // iterations in the window; negative while the last change of omega still shows
  Index unknown_ = 0;  // iterations of unknown error: the potentials still move far
  static constexpr Index skip = 4;
  static constexpr Index patience = 32;
};

}  // namespace kantorch::cpu
