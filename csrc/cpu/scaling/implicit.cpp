#include <algorithm>
#include <cmath>
#include <limits>

#include "core/implicit.hpp"
#include "cpu/scaling/result.hpp"
#include "cpu/scaling/schur.hpp"
#include "cpu/scaling/weights.hpp"

namespace kantorch::cpu {
namespace {

// The scratch of one problem at a time.
template <class T>
struct Workspace {
  Workspace(Arena& arena, Index n, Index m) noexcept
      : a(arena.take<double>(n)),
        b(arena.take<double>(m)),
        f(arena.take<double>(n)),
        g(arena.take<double>(m)),
        row(arena.take<double>(n)),
        col(arena.take<double>(m)),
        x(arena.take<double>(n)),
        y(arena.take<double>(m)),
        u(arena.take<double>(n)),
        v(arena.take<double>(m)),
        passes(arena, n, m),
        schur(arena, passes, n, m,
              arena.take<double>(Laplacian::weights_for(Schur<T>::size_for(n, m)))) {}

  double* a;
  double* b;
  double* f;
  double* g;
  double* row;
  double* col;
  double* x;
  double* y;
  double* u;
  double* v;
  GibbsPasses<T> passes;
  Schur<T> schur;
};

double dot(const double* x, const double* y, Index size) noexcept {
  double sum = 0;
  for (Index i = 0; i < size; ++i) sum += x[i] * y[i];
  return sum;
}

// Of the points with mass.
struct Held {
  double sum = 0;
  Index count = 0;

  Held(const double* x, const double* weight, Index size) noexcept {
    for (Index i = 0; i < size; ++i) {
      if (!(weight[i] > 0)) continue;
      sum += x[i];
      ++count;
    }
  }
};

// Keeps x where the weight is 0, or where it is not, and writes 0 elsewhere. Returns whether any is
// kept.
bool keep(const double* x, const double* weight, bool massless, Index size, double* out) noexcept {
  bool any = false;
  for (Index i = 0; i < size; ++i) {
    const bool kept = (weight[i] > 0) != massless;
    out[i] = kept ? x[i] : 0;
    any |= kept;
  }
  return any;
}

// In weights of mass 1, the equations at a point without mass hold its own unknown alone or give it
// from the others. The rest take the symmetric form H = [[diag(r), P], [P^T, diag(c)]], where r and
// c, the sums of the plan itself, stand for a and b, so that H is singular exactly along (1, -1).

// M^T [lambda; mu] = [x; y]: lambda_i = x_i where a_i = 0, mu_j = y_j where b_j = 0, and for the
// others H [u; v] = [x'; y'], lambda = a u, mu = b v, with the known terms moved to the right-hand
// side. What rounding left of its part along (1, -1) is taken from those others alone: E between two
// points without mass may be anything, and times that rounding it would not be small.
template <class T>
bool solve_transposed(Workspace<T>& work, Index n, Index m, double* lambda, double* mu) noexcept {
  double* x = work.x;
  double* y = work.y;
  // a E y over b = 0, and b E^T x over a = 0.
  const bool known_rows = keep(x, work.a, true, n, work.u),
             known_cols = keep(y, work.b, true, m, work.v);
  if (known_cols && !work.passes.multiply(work.f, work.g, work.a, work.v, lambda)) return false;
  if (known_rows && !work.passes.multiply_transposed(work.f, work.g, work.u, work.b, mu))
    return false;
  for (Index i = 0; i < n && known_cols; ++i) x[i] -= lambda[i];
  for (Index j = 0; j < m && known_rows; ++j) y[j] -= mu[j];
  const Held rows(x, work.a, n), cols(y, work.b, m);
  const double offset = (rows.sum - cols.sum) / static_cast<double>(rows.count + cols.count);
  for (Index i = 0; i < n; ++i) x[i] -= work.a[i] > 0 ? offset : 0;
  for (Index j = 0; j < m; ++j) y[j] += work.b[j] > 0 ? offset : 0;
  if (!work.schur.solve(x, y, lambda, mu)) return false;
  for (Index i = 0; i < n; ++i) lambda[i] = work.a[i] > 0 ? work.a[i] * lambda[i] : x[i];
  for (Index j = 0; j < m; ++j) mu[j] = work.b[j] > 0 ? work.b[j] * mu[j] : y[j];
  return true;
}

// M [z; w] = [x; y]: H [z; w] = [a x; b y] where there is mass, then z_i = x_i - sum_j E_ij b_j w_j
// and likewise.
template <class T>
bool solve_direct(Workspace<T>& work, Index n, Index m, double* z, double* w) noexcept {
  double* x = work.x;
  double* y = work.y;
  const double offset =
      (dot(work.a, x, n) - dot(work.b, y, m)) / (dot(work.a, work.a, n) + dot(work.b, work.b, m));
  for (Index i = 0; i < n; ++i) x[i] -= offset * work.a[i];
  for (Index j = 0; j < m; ++j) y[j] += offset * work.b[j];
  for (Index i = 0; i < n; ++i) work.u[i] = work.a[i] * x[i];
  for (Index j = 0; j < m; ++j) work.v[j] = work.b[j] * y[j];
  if (!work.schur.solve(work.u, work.v, z, w)) return false;
  for (Index i = 0; i < n; ++i)
    work.row[i] = work.a[i] * z[i];  // the plan's sums are not needed any more
  for (Index j = 0; j < m; ++j) work.col[j] = work.b[j] * w[j];
  std::fill_n(work.u, n, 1.0);
  std::fill_n(work.v, m, 1.0);
  const bool rows_left = keep(work.u, work.a, true, n, work.u),
             cols_left = keep(work.v, work.b, true, m, work.v);
  if (rows_left) {
    if (!work.passes.multiply(work.f, work.g, work.u, work.col, work.u)) return false;
    for (Index i = 0; i < n; ++i) z[i] = work.a[i] > 0 ? z[i] : x[i] - work.u[i];
  }
  if (cols_left) {
    if (!work.passes.multiply_transposed(work.f, work.g, work.row, work.v, work.v)) return false;
    for (Index j = 0; j < m; ++j) w[j] = work.b[j] > 0 ? w[j] : y[j] - work.v[j];
  }
  return true;
}

template <class T>
bool solve(const ImplicitProblem<T>& problem, Index k, double* lambda, double* mu, void* memory,
           const Cpu& exec) noexcept {
  const MatrixView<T> cost = problem.cost[k];
  const Index n = cost.rows, m = cost.cols;
  Arena arena(memory);
  Workspace<T> work(arena, n, m);
  const double mass = normalise(problem.a[k], n, work.a),
               mass_b = normalise(problem.b[k], m, work.b);
  std::copy_n(problem.x[k], n, work.x);
  std::copy_n(problem.y[k], m, work.y);
  if (!(mass > 0 && mass_b > 0)) {
    std::copy_n(work.x, n, lambda);
    std::copy_n(work.y, m, mu);
    return true;
  }
  const double rate = rate_of(problem.eps[k]), log_mass = std::log(mass_b);
  for (Index i = 0; i < n; ++i) work.f[i] = to_units(problem.f[k][i], rate) + log_mass;
  for (Index j = 0; j < m; ++j) work.g[j] = to_units(problem.g[k][j], rate);
  work.passes.bind(cost, work.a, work.b, exec);
  work.passes.set_rate(rate);
  PlanSums sums;
  if (!work.passes.measure(work.f, work.g, work.row, work.col, &sums)) return false;
  // Between parts of the plan that hardly share mass, the solution is this mass's inverse times the
  // balance of right-hand sides that were rounded in T. Its size there decides nothing else than how
  // the mass that is shared moves, while rounding it would reach all entries.
  constexpr double apart = 4.0 * std::numeric_limits<T>::epsilon();
  if (!work.schur.factor({work.a, work.b, work.f, work.g}, work.row, work.col, 0, apart))
    return false;
  return problem.transposed ? solve_transposed(work, n, m, lambda, mu)
                            : solve_direct(work, n, m, lambda, mu);
}

template <class T>
Index bytes_per_problem(Index n, Index m) noexcept {
  Arena arena(nullptr);
  Workspace<T> work(arena, n, m);
  return arena.bytes();
}

}  // namespace
}  // namespace kantorch::cpu

namespace kantorch {

template <class T>
Index implicit_workspace(const ImplicitProblem<T>& problem, int threads) noexcept {
  const auto& cost = problem.cost;
  return cpu::workspace_of(cost, cpu::bytes_per_problem<T>(cost.rows, cost.cols), threads);
}

template <class T>
Outcome implicit(const ImplicitProblem<T>& problem, double* lambda, double* mu, void* workspace,
                 const Cpu& exec) noexcept {
  const Index n = problem.cost.rows, m = problem.cost.cols;
  return cpu::solve_batch(problem.cost, cpu::bytes_per_problem<T>(n, m), workspace, exec,
                          [&](Index k, void* memory, const Cpu& inner) {
                            return cpu::solve(problem, k, lambda + k * n, mu + k * m, memory,
                                              inner);
                          });
}

template Index implicit_workspace(const ImplicitProblem<float>&, int) noexcept;
template Index implicit_workspace(const ImplicitProblem<double>&, int) noexcept;
template Outcome implicit(const ImplicitProblem<float>&, double*, double*, void*,
                          const Cpu&) noexcept;
template Outcome implicit(const ImplicitProblem<double>&, double*, double*, void*,
                          const Cpu&) noexcept;

}  // namespace kantorch
