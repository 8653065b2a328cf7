#include <doctest/doctest.h>

#include <cmath>
#include <random>
#include <vector>

#include "cpu/exact/assignment.hpp"
#include "cpu/exact/instance.hpp"
#include "cpu/exact/start.hpp"
#include "cpu/exact/support.hpp"

using namespace kantorch;
using namespace kantorch::cpu::network;

// The answer may not lean on the network simplex, which would put a wrong assignment right.
TEST_CASE("an assignment is optimal by its own potentials") {
  std::mt19937_64 engine(3);
  std::uniform_real_distribution<double> uniform;
  int found = 0;
  for (const Index n : {2, 3, 5, 17, 40, 90}) {
    for (int kind = 0; kind < 3; ++kind) {
      std::vector<double> cost, weights(static_cast<std::size_t>(n), 1);
      for (Index c = 0; c < n * n; ++c)
        cost.push_back(kind == 0   ? uniform(engine)
                       : kind == 1 ? static_cast<double>(engine() % 4)
                                   : static_cast<double>((c / n - c % n) * (c / n - c % n)));
      std::vector<float> memory(static_cast<std::size_t>(n * Screen::padded(n)));
      Instance<double> instance;
      Screen screen;
      screen.data = memory.data();
      const MatrixView<double> view{cost.data(), n, n, n};
      REQUIRE(instance.prepare(view, weights.data(), weights.data(), Cpu{}));
      REQUIRE(start_potentials(instance, nullptr, nullptr, screen, Cpu{}));
      REQUIRE(fill_screen(instance, screen, Cpu{}));
      REQUIRE(Assignment<double>::fits(instance));
      Assignment<double> assignment;
      const Assigned state = assignment.run(instance, screen, true, -1, Cpu{});
      REQUIRE((state == Assigned::yes || state == Assigned::too_hard));
      if (state == Assigned::too_hard) continue;  // ties over ties
      ++found;
      CHECK(assignment.augmentations == n);
      std::vector<int> taken(static_cast<std::size_t>(n));
      for (Index i = 0; i < n; ++i) {
        const Index j = assignment.col_of[i];
        ++taken[static_cast<std::size_t>(j)];
        CHECK(std::abs(instance(i, j) - assignment.f[i] - assignment.g[j]) <= 1e-15);
        for (Index k = 0; k < n; ++k)
          REQUIRE(instance(i, k) - assignment.f[i] - assignment.g[k] >= -1e-13);
      }
      for (const int count : taken) REQUIRE(count == 1);
    }
  }
  CHECK(found >= 8);
}
