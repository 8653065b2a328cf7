#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <vector>

#include "core/line.hpp"

using kantorch::Cpu;
using kantorch::Index;
using kantorch::Outcome;

namespace {

struct Asked {
  Index limit;
  Index count = 0;

  static bool stop(void* self) noexcept {
    auto& asked = *static_cast<Asked*>(self);
    return ++asked.count > asked.limit;
  }
};

Outcome solve(Index n, Asked& asked) {
  const auto size = static_cast<std::size_t>(n);
  std::vector<double> x(size), y(size), a(size, 1.0), f(size), g(size), mass(2 * size);
  std::vector<std::int64_t> row(2 * size), col(2 * size);
  for (Index k = 0; k < n; ++k) {
    x[static_cast<std::size_t>(k)] = std::sin(static_cast<double>(k));
    y[static_cast<std::size_t>(k)] = std::cos(static_cast<double>(k));
  }
  double value = 0, error = 0;
  std::int64_t n_iter = 0;
  std::int32_t status = 0;
  const kantorch::LineProblem<double> problem{
      1, n, n, {x.data(), n}, {y.data(), n}, {a.data(), n}, {a.data(), n}, false, {}, {}};
  return kantorch::line(
      problem,
      {&value, f.data(), g.data(), row.data(), col.data(), mass.data(), &error, &n_iter, &status},
      {1, Asked::stop, &asked});
}

}  // namespace

TEST_CASE("sorting points on a line asks for a stop every few thousand points") {
  constexpr Index n = Index{1} << 18, far = Index{1} << 40;
  Asked all{far};
  CHECK(solve(n, all) == Outcome::done);
  // Placing, counting, making room, weighing and at least six digits of every side.
  CHECK(all.count >= 2 * 10 * (n / (Index{1} << 15)));
  for (const Index limit : {Index{0}, all.count / 4, all.count / 2, all.count - 8}) {
    Asked some{limit};
    CHECK(solve(n, some) == Outcome::interrupted);
    CHECK(some.count <= limit + 8);
  }
}
