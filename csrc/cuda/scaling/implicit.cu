#include "core/implicit.hpp"

#include <algorithm>

#include "cuda/runtime/launch.hpp"
#include "cuda/scaling/problem.hpp"
#include "cuda/scaling/schur.hpp"

namespace kantorch {
namespace cuda {
namespace {

// Blocks that run at once, at most; each has memory for one problem.
constexpr Index most_blocks = 1024;
constexpr Index small = 64;  // systems that few lanes solve

// One problem a block, by a Schur complement on its smaller side; see cpu/scaling/implicit.cpp for the equations.
template <class Team, class T>
class ImplicitSolve {
 public:
  using Passes = GibbsPasses<Team, T>;

  static constexpr Index vectors = 6;  // of each side
  static KANTORCH_BOTH constexpr Index doubles(Index n, Index m) {
    return vectors * (n + m) + Schur<Team, T>::doubles(n, m);
  }

  // The passes' vectors are the first of `memory`.
  KANTORCH_DEVICE ImplicitSolve(Passes& passes, double* memory)
      : passes_(passes),
        team_(passes.team),
        n_(passes.n),
        m_(passes.m),
        row_(memory + 2 * (n_ + m_)),
        col_(row_ + n_),
        x_(col_ + m_),
        y_(x_ + n_),
        u_(y_ + m_),
        v_(u_ + n_),
        rest_of_rows_(v_ + m_),
        rest_of_cols_(rest_of_rows_ + n_),
        schur_(passes, row_, col_, rest_of_cols_ + m_) {}

  KANTORCH_DEVICE void operator()(const ImplicitProblem<T>& problem, Index k, double* lambda,
                                  double* mu) {
    bool bad = false;  // whose potentials are NaN
    const double mass = normalise(team_, passes_.reduce, problem.a[k], n_, passes_.a, &bad),
                 mass_b = normalise(team_, passes_.reduce, problem.b[k], m_, passes_.b, &bad);
    if (!(mass > 0 && mass_b > 0)) {
      for (Index i = team_.rank(); i < n_; i += team_.size()) lambda[i] = problem.x[k][i];
      for (Index j = team_.rank(); j < m_; j += team_.size()) mu[j] = problem.y[k][j];
      return;
    }
    passes_.rate = rate_of(problem.eps[k]);
    const double log_mass = log(mass_b);
    for (Index i = team_.rank(); i < n_; i += team_.size()) {
      passes_.f[i] = to_units(problem.f[k][i], passes_.rate) + log_mass;
      x_[i] = problem.x[k][i];
    }
    for (Index j = team_.rank(); j < m_; j += team_.size()) {
      passes_.g[j] = to_units(problem.g[k][j], passes_.rate);
      y_[j] = problem.y[k][j];
    }
    team_.sync();
    passes_.measure(row_, col_);
    team_.sync();
    // As on the CPU: the balance of right-hand sides between parts that share less mass is rounding.
    schur_.factor(0, 4.0 * static_cast<double>(std::numeric_limits<T>::epsilon()));
    if (problem.transposed) {
      transposed(lambda, mu);
    } else {
      direct(lambda, mu);
    }
  }

 private:
  // Writes x where there is no mass and 0 elsewhere. Returns whether there is such a point.
  KANTORCH_DEVICE bool keep_massless(const double* x, const double* weight, Index size,
                                     double* out) {
    bool any = false;
    for (Index i = team_.rank(); i < size; i += team_.size()) {
      const bool kept = !(weight[i] > 0);
      out[i] = kept ? x[i] : 0;
      any |= kept;
    }
    return passes_.reduce.any(any);
  }

  KANTORCH_DEVICE double dot(const double* x, const double* y, Index size) {
    double total = 0;
    for (Index i = team_.rank(); i < size; i += team_.size()) total += x[i] * y[i];
    return passes_.reduce(total, Sum{});
  }

  // The sum, or, without x, the number of the points with mass.
  KANTORCH_DEVICE double held(const double* x, const double* weight, Index size) {
    double total = 0;
    for (Index i = team_.rank(); i < size; i += team_.size())
      if (weight[i] > 0) total += x == nullptr ? 1 : x[i];
    return passes_.reduce(total, Sum{});
  }

  KANTORCH_DEVICE void transposed(double* lambda, double* mu) {
    const bool known_rows = keep_massless(x_, passes_.a, n_, u_),
               known_cols = keep_massless(y_, passes_.b, m_, v_);
    team_.sync();
    if (known_cols) passes_.multiply(passes_.a, v_, lambda);
    if (known_rows) passes_.multiply_transposed(u_, passes_.b, mu);
    for (Index i = team_.rank(); i < n_ && known_cols; i += team_.size()) x_[i] -= lambda[i];
    for (Index j = team_.rank(); j < m_ && known_rows; j += team_.size()) y_[j] -= mu[j];
    team_.sync();
    // As on the CPU: points without mass keep what they have.
    const double points = held(nullptr, passes_.a, n_) + held(nullptr, passes_.b, m_),
                 offset = (held(x_, passes_.a, n_) - held(y_, passes_.b, m_)) / points;
    for (Index i = team_.rank(); i < n_; i += team_.size()) x_[i] -= passes_.a[i] > 0 ? offset : 0;
    for (Index j = team_.rank(); j < m_; j += team_.size()) y_[j] += passes_.b[j] > 0 ? offset : 0;
    team_.sync();
    schur_.solve(x_, y_, lambda, mu);
    for (Index i = team_.rank(); i < n_; i += team_.size())
      lambda[i] = passes_.a[i] > 0 ? passes_.a[i] * lambda[i] : x_[i];
    for (Index j = team_.rank(); j < m_; j += team_.size())
      mu[j] = passes_.b[j] > 0 ? passes_.b[j] * mu[j] : y_[j];
  }

  KANTORCH_DEVICE void direct(double* z, double* w) {
    const double* const a = passes_.a;
    const double* const b = passes_.b;
    const double offset = (dot(a, x_, n_) - dot(b, y_, m_)) / (dot(a, a, n_) + dot(b, b, m_));
    for (Index i = team_.rank(); i < n_; i += team_.size()) {
      x_[i] -= offset * a[i];
      u_[i] = a[i] * x_[i];
    }
    for (Index j = team_.rank(); j < m_; j += team_.size()) {
      y_[j] += offset * b[j];
      v_[j] = b[j] * y_[j];
    }
    team_.sync();
    schur_.solve(u_, v_, z, w);
    bool rows_left = false, cols_left = false;
    for (Index i = team_.rank(); i < n_; i += team_.size()) {
      row_[i] = a[i] * z[i];  // the plan's sums are not needed any more
      u_[i] = a[i] > 0 ? 0 : 1;
      rows_left |= !(a[i] > 0);
    }
    for (Index j = team_.rank(); j < m_; j += team_.size()) {
      col_[j] = b[j] * w[j];
      v_[j] = b[j] > 0 ? 0 : 1;
      cols_left |= !(b[j] > 0);
    }
    rows_left = passes_.reduce.any(rows_left);
    cols_left = passes_.reduce.any(cols_left);
    team_.sync();
    if (rows_left) passes_.multiply(u_, col_, rest_of_rows_);
    if (cols_left) passes_.multiply_transposed(row_, v_, rest_of_cols_);
    for (Index i = team_.rank(); i < n_; i += team_.size())
      if (!(a[i] > 0)) z[i] = x_[i] - rest_of_rows_[i];
    for (Index j = team_.rank(); j < m_; j += team_.size())
      if (!(b[j] > 0)) w[j] = y_[j] - rest_of_cols_[j];
  }

  Passes& passes_;
  Team& team_;
  const Index n_, m_;
  double* const row_;
  double* const col_;
  double* const x_;
  double* const y_;
  double* const u_;
  double* const v_;
  double* const rest_of_rows_;
  double* const rest_of_cols_;
  Schur<Team, T> schur_;
};

template <class T, int Threads>
struct Implicit {
  static constexpr int threads = Threads;

  ImplicitProblem<T> problem;
  double* lambda;
  double* mu;
  double* memory;
  Index doubles;  // of a block

  template <class Team>
  KANTORCH_DEVICE void operator()(Team& team) const {
    const Index n = problem.cost.rows, m = problem.cost.cols;
    double* const own = memory + team.block() * doubles;
    TeamReduce<Team> reduce(team);
    for (Index k = team.block(); k < problem.cost.batch; k += team.blocks()) {
      GibbsPasses<Team, T> passes(team, reduce, CostOf<T>(problem.cost, k), n, m, own, own + n,
                                  own + n + m, own + 2 * n + m);
      ImplicitSolve<Team, T> solve(passes, own);
      solve(problem, k, lambda + k * n, mu + k * m);
      team.sync();
    }
  }
  template <class Team>
  static constexpr Index bytes() {
    return TeamReduce<Team>::bytes();
  }
};

struct AnyTeam;

template <class T>
Index doubles_of(const CostBatch<T>& cost) {
  return ImplicitSolve<AnyTeam, T>::doubles(cost.rows, cost.cols);
}

Index blocks_of(Index batch) { return std::min(batch, most_blocks); }

}  // namespace
}  // namespace cuda

template <class T>
Index implicit_workspace(const ImplicitProblem<T>& problem, const Cuda&) {
  return cuda::blocks_of(problem.cost.batch) * cuda::doubles_of(problem.cost) *
         static_cast<Index>(sizeof(double));
}

template <class T>
void implicit(const ImplicitProblem<T>& problem, double* lambda, double* mu, void* workspace,
              const Cuda& exec) {
  const Index blocks = cuda::blocks_of(problem.cost.batch),
              doubles = cuda::doubles_of(problem.cost);
  auto* const memory = static_cast<double*>(workspace);
  if (std::min(problem.cost.rows, problem.cost.cols) <= cuda::small) {
    cuda::launch(exec, blocks, cuda::Implicit<T, 64>{problem, lambda, mu, memory, doubles});
  } else {
    cuda::launch(exec, blocks, cuda::Implicit<T, 256>{problem, lambda, mu, memory, doubles});
  }
}

template Index implicit_workspace(const ImplicitProblem<float>&, const Cuda&);
template Index implicit_workspace(const ImplicitProblem<double>&, const Cuda&);
template void implicit(const ImplicitProblem<float>&, double*, double*, void*, const Cuda&);
template void implicit(const ImplicitProblem<double>&, double*, double*, void*, const Cuda&);

}  // namespace kantorch
