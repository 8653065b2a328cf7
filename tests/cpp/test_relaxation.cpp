#include <doctest/doctest.h>

#include <cmath>
#include <initializer_list>
#include <limits>

#include "common/relaxation.hpp"

using namespace kantorch;

namespace {

// The rate of the relaxed iteration where the plain one has rate rho, by Young's relation.
double rate_of(double omega, double rho) {
  const double best = 2 / (1 + std::sqrt(1 - rho));
  if (omega >= best) return omega - 1;
  const double s = omega * std::sqrt(rho);
  const double root = (s + std::sqrt(s * s - 4 * (omega - 1))) / 2;
  return root * root;
}

}  // namespace

TEST_CASE("the factor comes near the best one, and what is left is foretold") {
  for (const double rho : {0.5, 0.9, 0.99, 0.999}) {
    Relaxation relaxation;
    double error = 1, left = 0;
    const double target = 1e-12;
    Index made = 0;
    while (error > target && made < 100000) {
      error *= rate_of(relaxation.omega(), rho);
      ++made;
      relaxation.take(error, target, &left);
    }
    const double best = 2 / (1 + std::sqrt(1 - rho));
    CAPTURE(rho);
    CHECK(relaxation.omega() > 1 + 0.9 * (best - 1));
    CHECK(relaxation.omega() < best + 0.1 * (2 - best));
    // The plain iteration takes log(target) / log(rho).
    CHECK(static_cast<double>(made) < 0.7 * std::log(target) / std::log(rho) + 40);
  }
}

TEST_CASE(
    "while relaxed iterations diverge, the factor falls back towards 1 and nothing is foretold") {
  Relaxation relaxation;
  double error = 1, left = 0;
  while (!(relaxation.omega() > 1.5))
    relaxation.take(error *= rate_of(relaxation.omega(), 0.99), 1e-300, &left);
  int halvings = 0;
  double before = relaxation.omega();
  for (int k = 0; k < 400 && relaxation.omega() > 1.01; ++k) {
    if (relaxation.take(error *= 1.1, 1e-300, &left))
      CHECK(left == std::numeric_limits<double>::infinity());
    if (relaxation.omega() == before) continue;
    CHECK(relaxation.omega() - 1 == doctest::Approx((before - 1) / 2));
    before = relaxation.omega();
    ++halvings;
  }
  CHECK(relaxation.omega() <= 1.01);
  CHECK(halvings >= 6);
}

TEST_CASE("an error that stays as it is, too, is no progress") {
  Relaxation relaxation;
  double left = 0;
  bool ended = false;
  for (int k = 0; k < 100 && !ended; ++k) ended = relaxation.take(1, 1e-9, &left);
  CHECK(ended);
  CHECK(left == std::numeric_limits<double>::infinity());
}

TEST_CASE("errors that are not known yet end windows, with nothing foretold") {
  Relaxation relaxation;
  double left = 0;
  int windows = 0;
  for (int k = 0; k < 320; ++k)
    windows += relaxation.take(std::numeric_limits<double>::quiet_NaN(), 1e-9, &left);
  CHECK(windows == 10);
  CHECK(left == std::numeric_limits<double>::infinity());
}
