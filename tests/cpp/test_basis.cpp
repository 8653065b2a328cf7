#include <doctest/doctest.h>

#include <random>
#include <vector>

#include "cpu/exact/basis.hpp"
#include "cpu/exact/instance.hpp"
#include "cpu/exact/start.hpp"

using namespace kantorch;
using namespace kantorch::cpu::network;

namespace {

std::mt19937_64 engine(5);

struct Start {
  std::vector<double> cost;
  std::vector<float> memory;
  Instance<double> instance;
  Screen screen;
  Shortlist shortlist;
  Tree tree;

  Start(Index n, Index m, const std::vector<double>& a, const std::vector<double>& b, bool ties) {
    std::uniform_real_distribution<double> uniform;
    for (Index c = 0; c < n * m; ++c)
      cost.push_back(ties ? static_cast<double>(engine() % 3) : uniform(engine));
    memory.resize(static_cast<std::size_t>(n * Screen::padded(m)));
    screen.data = memory.data();
    const MatrixView<double> view{cost.data(), n, m, m};
    REQUIRE(instance.prepare(view, a.data(), b.data(), Cpu{}));
    REQUIRE(start_potentials(instance, nullptr, nullptr, screen, Cpu{}));
    REQUIRE(fill_screen(instance, screen, Cpu{}));
  }

  // A spanning tree with the right flow, in which an arc without flow leads towards the root.
  void check(bool optimal) {
    REQUIRE(start_basis(instance, screen, shortlist, optimal, tree, Cpu{}));
    const Index n = instance.n(), m = instance.m();
    std::vector<double> left(instance.a);
    left.insert(left.end(), instance.b.begin(), instance.b.end());
    Index seen = 1;
    for (Node v = tree.next(tree.root()); v != tree.root(); v = tree.next(v), ++seen) {
      REQUIRE(tree.is_row(v) != tree.is_row(tree.parent(v)));
      REQUIRE(tree.flow(v) >= 0);
      if (tree.flow(v) == 0) REQUIRE(tree.is_row(v));
      left[static_cast<std::size_t>(v)] -= tree.flow(v);
      left[static_cast<std::size_t>(tree.parent(v))] -= tree.flow(v);
    }
    REQUIRE(seen == n + m);
    for (const double mass : left) REQUIRE(mass == 0);
  }
};

std::vector<double> counts(Index size, unsigned most) {
  std::vector<double> weights;
  for (Index k = 0; k < size; ++k) weights.push_back(1 + static_cast<double>(engine() % most));
  return weights;
}

}  // namespace

TEST_CASE("the first basis is a strongly feasible spanning tree") {
  for (const Index n : {1, 2, 3, 8, 20}) {
    for (const Index m : {1, 2, 3, 8, 20, 1500}) {
      for (const unsigned most : {1u, 3u, 1000u}) {
        std::vector<double> a = counts(n, most), b = counts(m, most);
        double mass_a = 0, mass_b = 0;
        for (const double x : a) mass_a += x;
        for (const double x : b) mass_b += x;
        for (double& x : a) x *= mass_b;
        for (double& x : b) x *= mass_a;
        for (const bool ties : {false, true}) {
          Start start(n, m, a, b, ties);
          start.check(false);
          start.check(true);
        }
      }
    }
  }
}
