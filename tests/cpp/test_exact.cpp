#include <doctest/doctest.h>

#include <atomic>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <random>
#include <vector>

#include "core/exact.hpp"
#include "cpu/simd/level.hpp"

using namespace kantorch;

namespace {

struct Solved {
  std::vector<double> value, f, g, plan_mass, marginal_error;
  std::vector<std::int64_t> plan_row, plan_col, n_iter;
  std::vector<std::int32_t> status;
  Outcome outcome = Outcome::done;
};

template <class T>
struct Batch {
  Index batch = 1;
  Index n = 1;
  Index m = 1;
  std::vector<T> cost;
  std::vector<T> a;
  std::vector<T> b;
  std::vector<double> f_init;
  std::vector<double> g_init;
  Index max_iter = -1;

  Solved solve(Cpu exec = {}) const {
    ExactProblem<T> problem;
    problem.cost = {cost.data(), batch, n, m, n * m, m, {}};
    problem.a = {a.data(), n};
    problem.b = {b.data(), m};
    if (!f_init.empty()) {
      problem.f_init = {f_init.data(), n};
      problem.g_init = {g_init.data(), m};
    }
    problem.max_iter = max_iter;
    return run(problem, exec);
  }

  static Solved run(const ExactProblem<T>& problem, Cpu exec) {
    const std::size_t count = static_cast<std::size_t>(problem.cost.batch);
    const std::size_t rows = static_cast<std::size_t>(problem.cost.rows);
    const std::size_t cols = static_cast<std::size_t>(problem.cost.cols);
    const std::size_t slots = count * (rows + cols - 1);
    Solved s;
    s.value.resize(count);
    s.marginal_error.resize(count);
    s.n_iter.resize(count);
    s.status.resize(count);
    s.f.resize(count * rows);
    s.g.resize(count * cols);
    s.plan_row.resize(slots);
    s.plan_col.resize(slots);
    s.plan_mass.resize(slots);
    const ExactResult result{s.value.data(),          s.f.data(),        s.g.data(),
                             s.plan_row.data(),       s.plan_col.data(), s.plan_mass.data(),
                             s.marginal_error.data(), s.n_iter.data(),   s.status.data()};
    std::vector<char> workspace(static_cast<std::size_t>(exact_workspace(problem, exec.threads)));
    s.outcome = exact(problem, result, workspace.data(), exec);
    return s;
  }
};

// Marginals, feasibility and gap of one problem, in long double, relative to mass and cost.
template <class T>
void check_optimal(const Batch<T>& batch, const Solved& s, Index k = 0) {
  const Index n = batch.n;
  const Index m = batch.m;
  REQUIRE(s.outcome == Outcome::done);
  CHECK(s.status[k] == static_cast<int>(Status::optimal));
  long double mass = 0;
  long double b_mass = 0;
  for (Index i = 0; i < n; ++i) mass += batch.a[k * n + i];
  for (Index j = 0; j < m; ++j) b_mass += batch.b[k * m + j];
  long double scale = 0;
  for (Index c = 0; c < n * m; ++c)
    scale = std::max<long double>(scale, std::abs(batch.cost[k * n * m + c]));
  std::vector<long double> row(n), col(m);
  long double value = 0;
  for (Index slot = 0; slot < n + m - 1; ++slot) {
    const std::size_t at = static_cast<std::size_t>(k * (n + m - 1) + slot);
    CHECK(s.plan_mass[at] >= 0);
    row[s.plan_row[at]] += s.plan_mass[at];
    col[s.plan_col[at]] += s.plan_mass[at];
    value += static_cast<long double>(s.plan_mass[at]) *
             batch.cost[k * n * m + s.plan_row[at] * m + s.plan_col[at]];
  }
  long double error = 0;
  long double dual = 0;
  for (Index i = 0; i < n; ++i) {
    error += std::abs(row[i] - batch.a[k * n + i]);
    dual += static_cast<long double>(batch.a[k * n + i]) * s.f[k * n + i];
  }
  for (Index j = 0; j < m; ++j) {
    const long double given =
        b_mass > 0 ? batch.b[k * m + j] * (mass / b_mass) : static_cast<long double>(0);
    error += std::abs(col[j] - given);
    dual += given * s.g[k * m + j];
  }
  CHECK(error <= 1e-12L * mass);
  CHECK(std::abs(value - s.value[k]) <= 1e-12L * mass * scale);
  CHECK(std::abs(value - dual) <= 1e-12L * mass * scale);
  for (Index i = 0; i < n; ++i) {
    REQUIRE(std::isfinite(s.f[k * n + i]));
    for (Index j = 0; j < m; ++j) {
      const long double slack = static_cast<long double>(batch.cost[k * n * m + i * m + j]) -
                                s.f[k * n + i] - s.g[k * m + j];
      REQUIRE(slack >= -1e-12L * scale);
    }
  }
}

std::mt19937_64 engine(7);

double uniform() { return std::uniform_real_distribution<double>()(engine); }

template <class T = double>
Batch<T> random_batch(Index batch, Index n, Index m) {
  Batch<T> p;
  p.batch = batch;
  p.n = n;
  p.m = m;
  for (Index c = 0; c < batch * n * m; ++c) p.cost.push_back(static_cast<T>(uniform()));
  for (Index k = 0; k < batch; ++k) {
    for (Index i = 0; i < n; ++i)
      p.a.push_back(static_cast<T>((0.1 + uniform()) / static_cast<double>(n)));
    double mass = 0;
    double sum = 0;
    for (Index i = 0; i < n; ++i) mass += p.a[k * n + i];
    std::vector<double> b;
    for (Index j = 0; j < m; ++j) {
      b.push_back(0.1 + uniform());
      sum += b.back();
    }
    for (const double x : b) p.b.push_back(static_cast<T>(x * (mass / sum)));
  }
  return p;
}

bool same(const Solved& x, const Solved& y) {
  return x.value == y.value && x.f == y.f && x.g == y.g && x.plan_mass == y.plan_mass &&
         x.plan_row == y.plan_row && x.plan_col == y.plan_col && x.n_iter == y.n_iter &&
         x.status == y.status;
}

}  // namespace

TEST_CASE_TEMPLATE("random problems of many shapes are solved to optimality", T, float, double) {
  const Index shapes[][2] = {{1, 1},   {1, 7},  {7, 1},   {2, 2},    {3, 5},    {8, 8},
                             {16, 17}, {33, 5}, {40, 90}, {130, 70}, {200, 200}};
  for (const auto& shape : shapes) {
    const auto p = random_batch<T>(3, shape[0], shape[1]);
    const Solved s = p.solve();
    for (Index k = 0; k < 3; ++k) check_optimal(p, s, k);
  }
}

TEST_CASE("ties and degenerate weights end and are optimal") {
  for (const Index levels : {1, 2, 3, 7}) {
    for (const Index n : {2, 5, 24, 60}) {
      auto p = random_batch(1, n, n);
      for (double& c : p.cost) c = std::floor(c * static_cast<double>(levels));
      for (double& x : p.a) x = 1;
      for (double& x : p.b) x = 1;
      check_optimal(p, p.solve());
    }
  }
}

TEST_CASE("equal weights give assignments, with points in the plane and with random costs") {
  for (const Index n : {2, 3, 31, 64, 150, 333}) {
    auto p = random_batch(2, n, n);
    for (Index i = 0; i < n; ++i) {
      for (Index j = 0; j < n; ++j) {
        const double x = p.cost[i] - p.cost[n + j];
        const double y = p.cost[2 * n + i - 1] - p.cost[3 * n + j - 1];
        if (n > 3) p.cost[n * n + i * n + j] = x * x + y * y;
      }
    }
    p.a.assign(2 * n, 1.0 / static_cast<double>(n));
    p.b = p.a;
    const Solved s = p.solve();
    for (Index k = 0; k < 2; ++k) check_optimal(p, s, k);
    for (std::size_t slot = 0; slot < s.plan_mass.size(); ++slot)
      CHECK((s.plan_mass[slot] == 0 || s.plan_mass[slot] == p.a[0]));
    auto limited = p;
    limited.max_iter = 1 << 30;
    CHECK(same(limited.solve(), s));
    auto simplex = p;  // for weights that are not all equal
    for (Index k = 0; k < 2; ++k) simplex.a[k * n] = simplex.b[k * n] *= 1 + 0x1p-40;
    const Solved t = simplex.solve();
    for (Index k = 0; k < 2; ++k) {
      check_optimal(simplex, t, k);
      CHECK(t.value[k] == doctest::Approx(s.value[k]).epsilon(1e-11));
    }
  }
}

TEST_CASE("grids with equal weights and different sizes are optimal") {
  const Index n = 36;
  const Index m = 24;
  auto p = random_batch(1, n, m);
  for (Index i = 0; i < n; ++i)
    for (Index j = 0; j < m; ++j)
      p.cost[i * m + j] = std::pow(i % 6 - j % 6, 2) + std::pow(i / 6 - j / 6, 2);
  p.a.assign(n, 1.0 / n);
  p.b.assign(m, 1.0 / m);
  check_optimal(p, p.solve());
}

TEST_CASE("points without mass get feasible duals and no plan") {
  auto p = random_batch(1, 30, 40);
  for (Index i = 0; i < 30; i += 3) p.a[i] = 0;
  for (Index j = 0; j < 40; j += 2) p.b[j] = 0;
  double sum_a = 0;
  double sum_b = 0;
  for (const double x : p.a) sum_a += x;
  for (const double x : p.b) sum_b += x;
  for (double& x : p.b) x *= sum_a / sum_b;
  const Solved s = p.solve();
  check_optimal(p, s);
  for (std::size_t slot = 0; slot < s.plan_mass.size(); ++slot) {
    if (s.plan_mass[slot] == 0) continue;
    CHECK(p.a[s.plan_row[slot]] > 0);
    CHECK(p.b[s.plan_col[slot]] > 0);
  }
}

TEST_CASE("no mass at all gives an empty plan and feasible duals") {
  auto p = random_batch(1, 4, 6);
  p.a.assign(4, 0);
  p.b.assign(6, 0);
  const Solved s = p.solve();
  check_optimal(p, s);
  CHECK(s.value[0] == 0);
}

TEST_CASE("masses far below the rounding of the total arrive") {
  auto p = random_batch(1, 12, 9);
  for (Index i = 0; i < 6; ++i) p.a[i] = 1e-30;
  for (Index j = 0; j < 4; ++j) p.b[j] = 1e-27;
  double sum_a = 0;
  double sum_b = 0;
  for (const double x : p.a) sum_a += x;
  for (const double x : p.b) sum_b += x;
  for (double& x : p.b) x *= sum_a / sum_b;
  const Solved s = p.solve();
  check_optimal(p, s);
  std::vector<double> row(12);
  for (std::size_t slot = 0; slot < s.plan_mass.size(); ++slot)
    row[s.plan_row[slot]] += s.plan_mass[slot];
  for (Index i = 0; i < 6; ++i) CHECK(row[i] == doctest::Approx(1e-30).epsilon(1e-10));
}

TEST_CASE("the plan does not depend on the unit of the cost") {
  const auto p = random_batch(1, 50, 45);
  const Solved s = p.solve();
  for (const int k : {-900, -1, 1, 900}) {
    auto scaled = p;
    for (double& c : scaled.cost) c = std::ldexp(c, k);
    const Solved t = scaled.solve();
    check_optimal(scaled, t);
    CHECK(t.plan_mass == s.plan_mass);
    CHECK(t.plan_row == s.plan_row);
    CHECK(t.n_iter == s.n_iter);
    CHECK(std::ldexp(t.f[3], -k) == s.f[3]);
  }
}

TEST_CASE("extreme costs are solved") {
  for (const double factor : {1e300, 1e-300, -1.0, -1e300}) {
    auto p = random_batch(1, 20, 20);
    for (double& c : p.cost) c *= factor;
    check_optimal(p, p.solve());
  }
  auto wide = random_batch(1, 30, 30);
  for (double& c : wide.cost) c = std::pow(10.0, -16 * c);
  check_optimal(wide, wide.solve());
  auto offset = random_batch(1, 30, 30);
  for (double& c : offset.cost) c += 1e8;
  check_optimal(offset, offset.solve());
}

TEST_CASE("cells that are forbidden by a huge cost do not blur the others") {
  for (const bool equal : {false, true}) {
    auto p = random_batch(1, 60, 60);
    if (equal) {
      p.a.assign(60, 1.0 / 60);
      p.b = p.a;
    }
    std::vector<bool> forbidden;
    for (std::size_t c = 0; c < p.cost.size(); ++c) forbidden.push_back(uniform() < 0.3);
    auto q = p;
    for (std::size_t c = 0; c < p.cost.size(); ++c) {
      if (!forbidden[c]) continue;
      p.cost[c] = 1e3;
      q.cost[c] = 1e15;
    }
    const Solved small = p.solve();
    const Solved large = q.solve();
    check_optimal(p, small);
    check_optimal(q, large);
    CHECK(large.value[0] == doctest::Approx(small.value[0]).epsilon(1e-13));
  }
}

TEST_CASE("the answer does not depend on threads, strides and the rest of the batch") {
  for (const Index n : {20, 300}) {
    const Index m = n + 10;
    const auto p = random_batch(5, n, m);
    const Solved whole = p.solve();
    CHECK(same(whole, p.solve({2})));
    CHECK(same(whole, p.solve({7})));

    std::vector<double> padded(static_cast<std::size_t>(n * (m + 3)));
    for (Index i = 0; i < n; ++i)
      for (Index j = 0; j < m; ++j) padded[i * (m + 3) + j] = p.cost[2 * n * m + i * m + j];
    ExactProblem<double> single;
    single.cost = {padded.data(), 1, n, m, 0, m + 3, {}};
    single.a = {p.a.data() + 2 * n, 0};
    single.b = {p.b.data() + 2 * m, 0};
    for (const int threads : {1, 2, 4}) {
      const Solved alone = Batch<double>::run(single, {threads});
      CHECK(alone.value[0] == whole.value[2]);
      CHECK(alone.n_iter[0] == whole.n_iter[2]);
      for (Index i = 0; i < n; ++i) REQUIRE(alone.f[i] == whole.f[2 * n + i]);
      for (Index k = 0; k < n + m - 1; ++k)
        REQUIRE(alone.plan_mass[k] == whole.plan_mass[2 * (n + m - 1) + k]);
    }
  }
}

TEST_CASE("an optimal warm start needs few pivots, a terrible one does no harm") {
  auto p = random_batch(1, 80, 80);
  const Solved cold = p.solve();
  p.f_init = cold.f;
  p.g_init = cold.g;
  const Solved warm = p.solve();
  check_optimal(p, warm);
  CHECK(warm.n_iter[0] <= cold.n_iter[0]);
  CHECK(warm.value[0] == doctest::Approx(cold.value[0]).epsilon(1e-13));
  for (const double bad : {1e300, -1e300, 1e5, std::nan(""), HUGE_VAL, -HUGE_VAL}) {
    for (std::size_t j = 0; j < 80; j += 3) p.g_init[j] = bad * uniform();
    for (std::size_t i = 0; i < 80; i += 2) p.f_init[i] = bad;
    check_optimal(p, p.solve());
  }
}

TEST_CASE("an iteration limit leaves a feasible plan and feasible duals") {
  for (const Index limit : {0, 1, 10}) {
    auto p = random_batch(1, 60, 50);
    p.max_iter = limit;
    const Solved s = p.solve();
    CHECK(s.status[0] == static_cast<int>(Status::max_iterations));
    CHECK(s.n_iter[0] == limit);
    CHECK(s.marginal_error[0] <= 1e-12);
    double dual = 0;
    for (Index i = 0; i < p.n; ++i) dual += p.a[i] * s.f[i];
    for (Index j = 0; j < p.m; ++j) dual += p.b[j] * s.g[j];
    CHECK(dual <= s.value[0]);
    for (Index i = 0; i < p.n; ++i)
      for (Index j = 0; j < p.m; ++j) REQUIRE(s.f[i] + s.g[j] <= p.cost[i * p.m + j] + 1e-12);
  }
}

TEST_CASE("a stop request ends the solve, and the next call is right") {
  static std::atomic<int> polls{0};
  const auto p = random_batch(1, 150, 150);
  for (const int threads : {1, 2}) {
    for (int limit = 0; limit < 200; limit = 2 * limit + 1) {
      polls = limit;
      const Cpu exec{threads, [](void*) noexcept { return --polls < 0; }, nullptr};
      const Solved s = p.solve(exec);
      if (s.outcome == Outcome::done) break;
      CHECK(s.outcome == Outcome::interrupted);
    }
    check_optimal(p, p.solve({threads}));
  }
}

TEST_CASE("every SIMD level solves, with the same value") {
  const auto p = random_batch(2, 90, 101);
  const cpu::Level best = cpu::level();
  const Solved s = p.solve();
  for (const cpu::Level level : {cpu::Level::baseline, cpu::Level::avx2, cpu::Level::avx512}) {
    if (!cpu::force_level(level)) continue;
    const Solved t = p.solve();
    check_optimal(p, t, 0);
    check_optimal(p, t, 1);
    CHECK(t.value[1] == doctest::Approx(s.value[1]).epsilon(1e-13));
  }
  cpu::force_level(best);
}
