// An iteration by one way through the cost against the plain updates of rows and columns.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "cuda/runtime/team_host.hpp"
#include "cuda/scaling/problem.hpp"
#include "cuda/scaling/streamed_iteration.hpp"
#include "cuda/schedules.hpp"

using namespace kantorch;
using namespace kantorch::cuda;

namespace {

std::size_t at(Index i) { return static_cast<std::size_t>(i); }

// A problem, and the potentials that an iteration starts from.
template <class T>
struct Start {
  Index n, m;
  std::vector<T> cost, x, y;
  std::vector<double> a, b, f, g;
  Index dims = 0;
  Metric metric = Metric::sqeuclidean;
  double rate = 1;

  Start(Index n_, Index m_, unsigned seed) : n(n_), m(m_), cost(at(n * m)) {
    std::mt19937 random(seed);
    std::uniform_real_distribution<double> uniform(0, 1);
    for (T& c : cost) c = static_cast<T>(8 * uniform(random));
    for (auto* weights : {&a, &b}) {
      weights->resize(at(weights == &a ? n : m));
      double sum = 0;
      for (double& w : *weights) sum += w = 0.1 + uniform(random);
      for (double& w : *weights) w /= sum;
    }
    for (auto* potentials : {&f, &g}) {
      potentials->resize(at(potentials == &f ? n : m));
      for (double& p : *potentials) p = 4 * uniform(random);
    }
  }

  // Points in place of the matrix.
  Start& between_points(Metric of) {
    dims = 3;
    metric = of;
    const Index wide = padded(m, panel);
    x.resize(at(n * dims));
    y.assign(at(wide * dims), 0);
    std::mt19937 random(7);
    std::uniform_real_distribution<double> uniform(0, 1);
    for (T& t : x) t = static_cast<T>(uniform(random));
    for (Index j = 0; j < m; ++j)
      for (Index d = 0; d < dims; ++d)
        y[at((j / panel * dims + d) * panel + j % panel)] = static_cast<T>(uniform(random));
    return *this;
  }

  CostBatch<T> view() const {
    CostBatch<T> batch{cost.data(), 1, n, m, n * m, m, {}};
    if (dims > 0) batch.points = {x.data(), y.data(), dims, 0, 0, metric};
    return batch;
  }
};

struct Potentials {
  std::vector<double> f, g;
  double error;
};

// What one iteration makes of it, by a team of `width` blocks: the streamed one, or the plain updates.
template <class T>
Potentials iterate(const Start<T>& start, double omega, bool streamed, int width,
                   const Schedule& schedule) {
  const Index n = start.n, m = start.m;
  Potentials out{start.f, start.g, 0};
  std::vector<double> a = start.a, b = start.b;
  std::vector<double> scratch(at(scratch_size(0, n, m)));
  std::vector<char> memory(at(std::max<Index>(team_bytes(width), 1)));
  Grid grid{width, streamed_threads, TeamReduce<HostTeam>::bytes() + StreamedScratch::bytes<T>()};
  grid.width = width;
  grid.memory = memory.data();
  run_on_host(grid, schedule, [&](HostTeam& team) {
    TeamReduce<HostTeam> reduce(team);
    const TeamProblems mine = problems_of<T>(team, scratch.data(), 0, n, m);
    GibbsPasses<HostTeam, T> passes(team, reduce, CostOf<T>(start.view(), 0), n, m, a.data(),
                                    b.data(), out.f.data(), out.g.data());
    passes.rate = start.rate;
    double error = 0;
    if (streamed) {
      StreamedIteration<HostTeam, T> iteration(passes, mine.scratch);
      iteration.start();
      iteration(omega, &error);
      iteration.finish();
    } else {
      passes.update_rows(omega);
      passes.update_columns(omega, &error);
    }
    if (team.rank() == 0) out.error = error;
  });
  return out;
}

template <class T>
void compare(const Start<T>& start, double omega, int width = 1, const Schedule& schedule = {}) {
  CAPTURE(start.n);
  CAPTURE(start.m);
  CAPTURE(omega);
  const Potentials want = iterate(start, omega, false, 1, {});
  const Potentials found = iterate(start, omega, true, width, schedule);
  // Exponents are differences of numbers of this size.
  double size = 8 * start.rate;
  for (const auto* potentials : {&start.f, &start.g, &want.f, &want.g})
    for (const double p : *potentials) size = std::max(size, std::fabs(p));
  const double eps = (sizeof(T) == sizeof(float) ? 5e-6 : 1e-12) + 4e-15 * size;
  for (Index i = 0; i < start.n; ++i) {
    CAPTURE(i);
    REQUIRE(std::fabs(found.f[at(i)] - want.f[at(i)]) <= eps);
  }
  for (Index j = 0; j < start.m; ++j) {
    CAPTURE(j);
    // Without mass a potential follows from F as it is, whatever the relaxation.
    if (omega != 1 && start.b[at(j)] == 0) continue;
    REQUIRE(std::fabs(found.g[at(j)] - want.g[at(j)]) <= eps);
  }
  // Beyond that, rounding alone makes it anything.
  if (size < 1e6) REQUIRE(std::fabs(found.error - want.error) <= 10 * eps * (1 + want.error));
}

// Rows of one warp, of four and of eight, and those that are not held: full, and with a few columns more.
template <class T>
std::vector<Index> widths() {
  const Index all = most_held_columns<T>;
  return {1, 31, 127, 128, 129, all / 8, all / 8 + 1, all / 2 - 3, all / 2 + 130, all, all + 1};
}

}  // namespace

TEST_CASE_TEMPLATE("a streamed iteration is the plain one, whatever holds a row", T, float,
                   double) {
  for (const Index m : widths<T>())
    for (const double omega : {1.0, 1.5}) compare(Start<T>(m < 200 ? 70 : 11, m, 1), omega);
}

TEST_CASE("a streamed iteration does not depend on who runs first, nor on the blocks of a team") {
  for (const Schedule& schedule : schedules) {
    for (const int width : {1, 2, 3}) {
      compare(Start<float>(300, 150, 2), 1.5, width, schedule);
      compare(Start<float>(20, 1100, 3), 1, width, schedule);
      const Start<float> start(40, 2100, 4);
      const Potentials once = iterate(start, 1, true, 1, {});
      const Potentials again = iterate(start, 1, true, width, schedule);
      REQUIRE(once.f == again.f);
      REQUIRE(once.g == again.g);
    }
  }
}

TEST_CASE_TEMPLATE("a streamed iteration between points is the plain one", T, float, double) {
  for (const Metric metric :
       {Metric::sqeuclidean, Metric::euclidean, Metric::cityblock, Metric::chebyshev})
    for (const Index m : {37, 150, 1100}) compare(Start<T>(19, m, 5).between_points(metric), 1);
}

TEST_CASE_TEMPLATE("rows and columns without mass, or with hardly any, take part in a streamed one",
                   T, float, double) {
  for (const double tiny : {0.0, 1e-25, 1e-35, 1e-200}) {
    CAPTURE(tiny);
    for (const Index m : {90, 1300}) {
      Start<T> rows(45, m, 6), columns(45, m, 6), both(45, m, 6);
      for (Index i = 0; i < 45; i += 4) rows.a[at(i)] = both.a[at(i)] = tiny;
      for (Index j = 0; j < m; j += 3) columns.b[at(j)] = both.b[at(j)] = tiny;
      for (const double omega : {1.0, 1.5}) {
        compare(rows, omega);
        compare(columns, omega);
        compare(both, omega);
      }
    }
  }
}

TEST_CASE_TEMPLATE("a streamed iteration from potentials that are far off is the plain one", T,
                   float, double) {
  for (const double far : {40.0, 500.0, 3e6, 1e200}) {
    CAPTURE(far);
    for (const Index m : {50, 1200}) {
      Start<T> rows(40, m, 8), columns(40, m, 8), all(40, m, 8);
      rows.f[3] += far;
      rows.f[17] -= far;
      columns.g[5] += far;
      columns.g[33] -= far;
      for (double& f : all.f) f -= far;
      for (double& g : all.g) g += far;
      compare(rows, 1);
      compare(columns, 1);
      compare(all, 1);
    }
  }
}

TEST_CASE_TEMPLATE("a streamed iteration at any rate is the plain one", T, float, double) {
  for (const double rate : {1e-300, 1e-30, 1e-3, 30.0, 1e7, 1e36, 1e60, 1e300}) {
    CAPTURE(rate);
    Start<T> start(33, 70, 9);
    start.rate = rate;
    compare(start, 1);
    const Potentials before = iterate(start, 1, false, 1, {});
    start.f = before.f;
    start.g = before.g;
    compare(start, 1);
  }
}
