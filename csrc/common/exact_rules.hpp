// When an exact answer is one: the same on every device.
#pragma once

namespace kantorch {

// Marginal errors, relative to the mass, that rounding explains.
constexpr double mass_rounding = 0x1p-42;

// Bound for the worst case on the error of an optimal value, 9e-13 relative to its scale.
constexpr double allowed_error = 0x1p-40;

// A share of the mass that does not count among what is paid.
constexpr double negligible_share = 0x1p-53;

}  // namespace kantorch
