// The exact solver's kernels: answers that their own duals prove, and trees that walks along the parents confirm.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "cuda/exact/kernel.hpp"
#include "cuda/schedules.hpp"

using namespace kantorch;
using cuda::ExactKernel;
using cuda::HostTeam;
using cuda::Schedule;
using cuda::warp_size;
using cuda::network::Node;

namespace {

constexpr double bad_number = std::numeric_limits<double>::quiet_NaN();
constexpr Index unlimited_pivots = 1 << 16;

std::size_t at(Index i) { return static_cast<std::size_t>(i); }

template <class T>
struct Problems {
  Index batch, n, m;
  std::vector<T> cost, a, b;
  std::vector<double> f_init, g_init;

  Problems(Index of, Index rows, Index cols)
      : batch(of),
        n(rows),
        m(cols),
        cost(at(of * rows * cols)),
        a(at(of * rows), T(1)),
        b(at(of * cols), T(1)) {
    // Weights of 1 balance if both sides are scaled by the other's size.
    for (T& weight : a) weight = static_cast<T>(m);
    for (T& weight : b) weight = static_cast<T>(n);
  }
};

struct Solved {
  std::vector<double> value, f, g, plan_mass, marginal_error;
  std::vector<std::int64_t> plan_row, plan_col, n_iter;
  std::vector<std::int32_t> status;

  bool operator==(const Solved& other) const {
    return value == other.value && f == other.f && g == other.g && plan_mass == other.plan_mass &&
           plan_row == other.plan_row && plan_col == other.plan_col && n_iter == other.n_iter &&
           status == other.status;
  }
};

// With room for `Nodes` on chip, or none.
template <int Nodes, int Warps, class T>
Solved solve(const Problems<T>& given, const Schedule& schedule = schedules[0],
             Index most_pivots = unlimited_pivots) {
  const Index n = given.n, m = given.m, slots = n + m - 1;
  ExactProblem<T> problem;
  problem.cost = {given.cost.data(), given.batch, n, m, n * m, m, {}};
  problem.a = {given.a.data(), n};
  problem.b = {given.b.data(), m};
  if (!given.f_init.empty()) {
    problem.f_init = {given.f_init.data(), n};
    problem.g_init = {given.g_init.data(), m};
  }
  Solved s;
  for (auto* numbers : {&s.value, &s.marginal_error}) numbers->resize(at(given.batch));
  s.f.resize(at(given.batch * n));
  s.g.resize(at(given.batch * m));
  s.plan_mass.resize(at(given.batch * slots));
  s.plan_row.resize(at(given.batch * slots));
  s.plan_col.resize(at(given.batch * slots));
  s.n_iter.resize(at(given.batch));
  s.status.resize(at(given.batch));
  const ExactResult result{s.value.data(),          s.f.data(),        s.g.data(),
                           s.plan_row.data(),       s.plan_col.data(), s.plan_mass.data(),
                           s.marginal_error.data(), s.n_iter.data(),   s.status.data()};
  std::vector<double> workspace(at(given.batch * cuda::network::Tree::bytes(n + m) / 8 + 1));
  using Kernel = ExactKernel<T, Nodes, Warps>;
  const Kernel kernel{problem, result, most_pivots, reinterpret_cast<char*>(workspace.data())};
  run_on_host({given.batch, Kernel::threads, Kernel::template bytes<HostTeam>()}, schedule, kernel);
  return s;
}

// Marginals, feasibility and gap of a problem in long double, relative to the mass and to the dearest cost that is paid.
// Without a `proof` the duals are feasible only, and the plan has the right marginals.
template <class T>
void check(const Problems<T>& given, const Solved& s, Index k = 0, bool proof = true) {
  using Wide = long double;
  const Index n = given.n, m = given.m, slots = n + m - 1;
  std::vector<Wide> rows(at(n)), cols(at(m));
  Wide mass = 0, mass_b = 0, value = 0, dual = 0, dearest = 0, size = 0, error = 0;
  for (Index i = 0; i < n; ++i) mass += rows[at(i)] = given.a[at(k * n + i)];
  for (Index j = 0; j < m; ++j) mass_b += given.b[at(k * m + j)];
  for (Index j = 0; j < m; ++j) cols[at(j)] = given.b[at(k * m + j)] * (mass / mass_b);
  for (Index i = 0; i < n; ++i) dual += rows[at(i)] * s.f[at(k * n + i)];
  for (Index j = 0; j < m; ++j) dual += cols[at(j)] * s.g[at(k * m + j)];
  const auto cost = [&](Index i, Index j) -> Wide { return given.cost[at((k * n + i) * m + j)]; };
  for (Index slot = k * slots; slot < (k + 1) * slots; ++slot) {
    const Wide amount = s.plan_mass[at(slot)];
    const Index i = s.plan_row[at(slot)], j = s.plan_col[at(slot)];
    CHECK(amount >= 0);
    if (!(amount > 0)) continue;
    rows[at(i)] -= amount;
    cols[at(j)] -= amount;
    value += amount * cost(i, j);
    dearest = std::max(dearest, std::abs(cost(i, j)));
  }
  for (const Wide x : rows) error += std::abs(x);
  for (const Wide x : cols) error += std::abs(x);
  CHECK(error <= 1e-13L * mass);
  CHECK(std::abs(value - s.value[at(k)]) <= 1e-15L * dearest * mass);
  for (Index i = 0; i < n; ++i) {
    for (Index j = 0; j < m; ++j) {
      const Wide f = s.f[at(k * n + i)], g = s.g[at(k * m + j)];
      size = std::max({size, std::abs(cost(i, j)), std::abs(f), std::abs(g)});
      CHECK(cost(i, j) - f - g >= -1e-15L * size);
    }
  }
  if (!proof) return;
  CHECK(s.status[at(k)] == static_cast<int>(Status::optimal));
  CHECK(std::abs(value - dual) <= 1e-14L * size * mass);
}

// Costs and weights of kinds that are hard in different ways, each problem feasible.
template <class T>
Problems<T> problems_of_all_kinds(Index n, Index m) {
  Problems<T> made(6, n, m);
  std::mt19937_64 random(static_cast<std::uint64_t>(n * 100 + m));
  const auto uniform = [&] { return static_cast<T>(random() % 1000003) / T(1000003); };
  for (Index k = 0; k < made.batch; ++k) {
    for (Index i = 0; i < n * m; ++i) {
      T& cost = made.cost[at(k * n * m + i)];
      cost = k % 2 == 0 ? uniform() : static_cast<T>(random() % 4);
      if (k == 4 && random() % 3 == 0) cost = T(1e30);
      if (k == 5) cost += T(1000);
    }
    if (k < 2) continue;  // uniform
    T total = 0;
    for (Index i = 0; i < n; ++i) {
      made.a[at(k * n + i)] = static_cast<T>(random() % 5 + (i == 0 ? 1 : 0));
      total += made.a[at(k * n + i)];
    }
    // Each unit of the rows goes to any column, so that all are integers with many ties.
    for (Index j = 0; j < m; ++j) made.b[at(k * m + j)] = 0;
    for (T unit = 0; unit < total; ++unit)
      made.b[at(k * m + static_cast<Index>(random() % at(m)))] += 1;
    if (k != 3) continue;
    for (Index i = 0; i < n; ++i) made.a[at(k * n + i)] *= T(0.1);
    for (Index j = 0; j < m; ++j) made.b[at(k * m + j)] *= T(0.1);
  }
  return made;
}

template <int Nodes, int Warps, class T>
void check_in_any_order(const Problems<T>& given) {
  const Solved want = solve<Nodes, Warps>(given);
  for (Index k = 0; k < given.batch; ++k) {
    CAPTURE(k);
    check(given, want, k);
  }
  for (const Schedule& schedule : schedules) CHECK(solve<Nodes, Warps>(given, schedule) == want);
}

// Random arcs are brought into a random tree, and what the pivots leave is found anew by a lane that walks.
struct Pivots {
  static constexpr Node rows = 21, nodes = 45;
  const std::vector<double>& costs;
  const std::vector<Node>& arcs;  // rows and columns in turns
  int* faults;
  int* made;

  void operator()(HostTeam& team) const {
    cuda::network::Block<HostTeam> block(team);
    cuda::SharedMemory<HostTeam> memory{team};
    auto tree = cuda::network::Tree::in(memory, nodes);
    tree.nodes = nodes;
    tree.rows = rows;
    tree.root = nodes - 1;
    const auto cost = [&](Node i, Node j) { return costs[at(i * (nodes - rows) + j)]; };
    // Every row below the root, every other column below a row that sends it 1.
    for (Node v = team.rank(); v < nodes; v += team.size()) {
      tree.parent[v] = v == tree.root ? -1 : tree.is_row(v) ? tree.root : (v - rows) % rows;
      tree.flow[v] = tree.is_row(v) ? v % 3 : 1;
    }
    team.sync();
    const std::vector<double> balance = balances(tree);
    team.sync();
    cuda::network::find_ancestors(team, tree);
    cuda::network::find_potentials(block, tree, cost);
    for (std::size_t k = 0; k + 1 < arcs.size(); k += 2) {
      const Node row = arcs[k], col = arcs[k + 1];
      const bool enters = tree.parent[row] != col && tree.parent[col] != row;
      const double reduced = cost(row, col - rows) - tree.high[row] + tree.high[col];
      team.sync();
      if (!enters) continue;
      cuda::network::pivot(block, tree, row, col, {reduced, 0});
      if (team.rank() == 0) {
        ++*made;
        *faults += is_as_walked(tree, cost) && balances(tree) == balance ? 0 : 1;
      }
      team.sync();
    }
  }
  static constexpr Index bytes() {
    return cuda::network::Block<HostTeam>::bytes() + cuda::network::Tree::bytes(nodes);
  }

 private:
  // What every node gives, less what it gets.
  static std::vector<double> balances(const cuda::network::Tree& tree) {
    std::vector<double> of(at(nodes));
    for (Node v = 0; v < nodes; ++v) {
      if (v == tree.root) continue;
      const double up = tree.is_row(v) ? tree.flow[v] : -tree.flow[v];
      of[at(v)] += up;
      of[at(tree.parent[v])] -= up;
    }
    return of;
  }
  template <class Cost>
  static bool is_as_walked(const cuda::network::Tree& tree, const Cost& cost) {
    bool same = true;
    for (Node v = 0; v < nodes; ++v) {
      std::vector<char> above(at(nodes));
      Node depth = 0;
      for (Node u = v; u != -1; u = tree.parent[u], ++depth) {
        if (depth > nodes) return false;
        above[at(u)] = 1;
      }
      same &= depth == tree.depth[v] && above[at(tree.root)] != 0;
      for (Node u = 0; u < nodes; ++u) same &= tree.is_above(u, v) == (above[at(u)] != 0);
      if (v == tree.root) continue;
      const Node row = tree.row(v), col = tree.col(v);
      same &= tree.flow[v] >= 0 && tree.is_row(v) != tree.is_row(tree.parent[v]);
      same &= std::abs(cost(row, col) - tree.high[row] + tree.high[rows + col]) < 1e-12;
    }
    return same;
  }
};

}  // namespace

TEST_CASE("pivots of sets of ancestors keep a tree, its flows and its potentials") {
  std::mt19937 random(7);
  std::vector<double> costs(at(Pivots::rows * (Pivots::nodes - Pivots::rows)));
  for (double& cost : costs) cost = static_cast<double>(random() % 1000) / 1000;
  std::vector<Node> arcs;
  for (int k = 0; k < 60; ++k) {
    arcs.push_back(static_cast<Node>(random() % Pivots::rows));
    arcs.push_back(Pivots::rows + static_cast<Node>(random() % (Pivots::nodes - Pivots::rows)));
  }
  for (const int warps : {1, 2}) {
    for (const Schedule& schedule : schedules) {
      int faults = 0, made = 0;
      const Pivots pivots{costs, arcs, &faults, &made};
      run_on_host({1, warps * warp_size, Pivots::bytes()}, schedule, pivots);
      CHECK(made > 40);
      CHECK(faults == 0);
    }
  }
}

TEST_CASE_TEMPLATE("exact answers on CUDA are proved, in any order of the lanes", T, float,
                   double) {
  for (const auto& [n, m] : {std::pair<Index, Index>{9, 7}, {1, 5}, {6, 1}}) {
    CAPTURE(n);
    const auto given = problems_of_all_kinds<T>(n, m);
    check_in_any_order<32, 1>(given);
    check_in_any_order<32, 2>(given);
    check_in_any_order<0, 2>(given);
  }
}

TEST_CASE("larger exact problems on CUDA are proved on chip and beyond") {
  const auto given = problems_of_all_kinds<double>(37, 41);
  const Solved on_chip = solve<96, 1>(given), beyond = solve<0, 1>(given);
  CHECK(on_chip == beyond);
  for (Index k = 0; k < given.batch; ++k) {
    CAPTURE(k);
    check(given, on_chip, k);
  }
}

TEST_CASE("a limit of pivots on CUDA leaves a plan and feasible duals") {
  const auto given = problems_of_all_kinds<double>(14, 11);
  const Solved whole = solve<32, 1>(given);
  for (const Index most : {0, 1, 4}) {
    const Solved s = solve<32, 1>(given, schedules[0], most);
    for (Index k = 0; k < given.batch; ++k) {
      CAPTURE(k);
      CHECK(s.n_iter[at(k)] == std::min(most, whole.n_iter[at(k)]));
      if (s.n_iter[at(k)] < whole.n_iter[at(k)])
        CHECK(s.status[at(k)] == static_cast<int>(Status::max_iterations));
      check(given, s, k, false);
    }
  }
}

TEST_CASE("a start from the optimal potentials on CUDA needs no pivot") {
  auto given = problems_of_all_kinds<double>(14, 11);
  const Solved whole = solve<32, 2>(given);
  given.f_init = whole.f;
  given.g_init = whole.g;
  const Solved again = solve<32, 2>(given);
  for (Index k = 0; k < given.batch; ++k) {
    CAPTURE(k);
    check(given, again, k);
    if (k % 2 == 0) CHECK(again.n_iter[at(k)] == 0);  // others have many optimal bases
  }
}

TEST_CASE("bad values on CUDA end their own exact problem only") {
  const auto good = problems_of_all_kinds<double>(6, 8);
  auto bad = good;
  bad.cost[at(3)] = bad_number;
  bad.a[at(6 + 2)] = -1;
  bad.b[at(2 * 8)] = bad_number;
  bad.a[at(3 * 6)] += 1;
  bad.cost[at(4 * 48)] = -std::numeric_limits<double>::infinity();
  const Solved want = solve<32, 1>(good), got = solve<32, 1>(bad);
  for (Index k = 0; k < 5; ++k) {
    CHECK(got.status[at(k)] == static_cast<int>(Status::bad_input));
    CHECK(std::isnan(got.value[at(k)]));
    CHECK(std::isnan(got.f[at(k * 6 + 5)]));
    CHECK(std::isnan(got.g[at(k * 8 + 7)]));
    CHECK(std::isnan(got.plan_mass[at(k * 13 + 12)]));
  }
  CHECK(got.status[5] == static_cast<int>(Status::optimal));
  CHECK(got.value[5] == want.value[5]);
}

TEST_CASE("without mass the exact plan on CUDA is 0, and its duals are feasible") {
  auto given = problems_of_all_kinds<double>(6, 8);
  given.a.assign(given.a.size(), 0);
  given.b.assign(given.b.size(), 0);
  const Solved s = solve<32, 1>(given);
  for (Index k = 0; k < given.batch; ++k) {
    CHECK(s.value[at(k)] == 0);
    CHECK(s.status[at(k)] == static_cast<int>(Status::optimal));
    for (Index i = 0; i < 6; ++i)
      for (Index j = 0; j < 8; ++j)
        CHECK(s.f[at(k * 6 + i)] + s.g[at(k * 8 + j)] <= given.cost[at((k * 6 + i) * 8 + j)]);
  }
}
