// What both devices judge results of Sinkhorn and IPOT by.
#pragma once

#include <cmath>
#include <limits>

#include "common/host_device.hpp"
#include "core/view.hpp"

namespace kantorch {

// The smallest normal number has a finite reciprocal; smaller strengths are taken for it.
constexpr double smallest_eps = std::numeric_limits<double>::min();

// A result whose columns' sums are farther off, in L1 and relative to the mass, is noise: the last half of an iteration
// makes them right.
constexpr double column_noise = 0.125;

// Potentials of size 1 determine a plan at an eps of this size.
constexpr double potential_digits = 0x1p-40;

// Whether the value of a plan is that of its potentials, of size `potential`. It is not where they are so large, of
// blocked cells, that the costs which the plan pays vanish beside them: <a, f> + <b, g> - <P, C> is eps times the relative
// entropy of P to a b^T: at most log min(n, m) at mass 1, and log(mass) less at others.
KANTORCH_BOTH bool value_has_digits(double value, double linear, double mass, double eps,
                                    Index fewer_points, double marginal_error,
                                    double potential) noexcept {
  constexpr double rounding = 1e-6;
  if (!std::isfinite(value) || !std::isfinite(linear)) return true;
  value /= mass;
  linear /= mass;
  const double entropy = 1 + std::log(static_cast<double>(fewer_points));
  const double allowed = eps * entropy + marginal_error * potential +
                         rounding * std::fmax(std::fabs(value), std::fabs(linear));
  return std::fabs(value + eps * std::log(mass) - linear) <= allowed;
}

// Costs in units of eps may leave the range of numbers on the way, and the potentials with them. The strength to solve
// the problem with instead, still far below what potentials in double determine a plan for; 0 where the result stands.
// `eps` is that of the result, which is `noise` or not; costs are of size `cost`, potentials of size `potential`.
KANTORCH_BOTH double raised_strength(double strength, double eps, bool noise, double cost,
                                     double potential) noexcept {
  constexpr double growth = 1e16, smallest = 1e-30, largest_exponent = 1e290, largest_eps = 1e-6;
  const bool lost = noise || eps > cost * largest_eps || potential > strength * largest_exponent;
  return lost && strength < smallest * cost ? std::fmax(strength, smallest_eps) * growth : 0;
}

// Whether IPOT seems to find no plan of the costs below a void alone: it pays more than `most` of them could, or the least
// error of the marginals so far does not fall with the steps. That of one step says nothing: on the way to a plan it may
// rise to ten times as much.
constexpr Index trial_steps = 128;
KANTORCH_BOTH bool has_no_plan(double paid, double most, double least_error, Index steps,
                               Index max_iter) noexcept {
  constexpr double most_error_steps = 12.8, late_error = 1e-4;
  const Index late = max_iter / 2 < trial_steps ? trial_steps : max_iter / 2;
  return !(paid <= most) ||
         (steps >= trial_steps && least_error * static_cast<double>(steps) > most_error_steps) ||
         (steps >= late && least_error > late_error);
}

}  // namespace kantorch
