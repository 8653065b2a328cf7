// The Schur complement of [[diag(r), P], [P^T, diag(c)]], r = P 1, c = P^T 1, as on the CPU (cpu/scaling/schur.hpp): the
// larger side is eliminated, and what remains is a graph Laplacian on the smaller side.
#pragma once

#include "cuda/scaling/gibbs_passes.hpp"
#include "cuda/scaling/laplacian.hpp"

namespace kantorch::cuda {

template <class Team, class T>
class Schur {
 public:
  using Passes = GibbsPasses<Team, T>;

  // Of the memory of one.
  static KANTORCH_BOTH constexpr Index doubles(Index n, Index m) {
    return Laplacian<Team>::doubles(n <= m ? n : m) + 2 * (n <= m ? m : n);
  }

  // The plan is that of the passes' weights and potentials; `row` and `col` are its sums.
  KANTORCH_DEVICE Schur(Passes& passes, const double* row, const double* col, double* memory)
      : passes_(passes),
        team_(passes.team),
        n_(passes.n),
        m_(passes.m),
        row_(row),
        col_(col),
        laplacian_(passes.team, passes.reduce, n_ <= m_ ? n_ : m_, memory),
        weighted_(memory + Laplacian<Team>::doubles(n_ <= m_ ? n_ : m_)),
        rest_(weighted_ + (n_ <= m_ ? m_ : n_)) {}

  // Each point of the smaller side is grounded by `ground` times its sum. Parts of the plan that share less than `apart` of
  // their mass count as having nothing in common.
  KANTORCH_DEVICE void factor(double ground, double apart) {
    constexpr Index depth = Laplacian<Team>::panel_depth;
    const bool by_columns = n_ <= m_;
    const Index size = by_columns ? n_ : m_, larger = by_columns ? m_ : n_;
    const double* const sums = by_columns ? row_ : col_;
    for (Index i = team_.rank(); i < size; i += team_.size()) {
      laplacian_.ground()[i] = ground * sums[i];
      laplacian_.floor()[i] = apart * sums[i];
    }
    laplacian_.clear();
    for (Index first = 0; first < larger; first += depth) {
      const Index some = larger - first < depth ? larger - first : depth;
      if (by_columns) {
        fill_columns(first, some);
      } else {
        fill_rows(first, some);
      }
      laplacian_.add_products(some);
    }
    laplacian_.factor();
  }

  // Solves the system for [x; y]. Points without mass get 0. All four are there when it begins and when it returns.
  KANTORCH_DEVICE void solve(const double* x, const double* y, double* u, double* v) {
    if (n_ <= m_) {
      solve(n_, m_, x, y, row_, col_, u, v, true);
    } else {
      solve(m_, n_, y, x, col_, row_, v, u, false);
    }
  }

 private:
  KANTORCH_DEVICE static double quotient(double x, double y) { return y > 0 ? x / y : 0; }

  KANTORCH_DEVICE double plan(Index i, Index j) const {
    const double a = passes_.a[i], b = passes_.b[j];
    return a > 0 && b > 0 ? a * passes_.entry(i, j) * b : 0;
  }

  // panel[j][i] = P_ij / sqrt(c_j); the lanes of a warp lie side by side in a row of the cost.
  KANTORCH_DEVICE void fill_columns(Index first, Index depth) {
    static_assert(Laplacian<Team>::panel_depth == warp_size);
    const Index j = first + team_.lane();
    const bool inside = team_.lane() < depth;
    const double scale = inside ? quotient(1, sqrt(col_[j])) : 0;
    for (Index i = team_.warp(); i < n_; i += team_.warps())
      if (inside) laplacian_.panel()[team_.lane() * n_ + i] = plan(i, j) * scale;
  }

  // panel[i][j] = P_ij / sqrt(r_i)
  KANTORCH_DEVICE void fill_rows(Index first, Index depth) {
    for (Index p = team_.warp(); p < depth; p += team_.warps()) {
      const Index i = first + p;
      const double scale = quotient(1, sqrt(row_[i]));
      for (Index j = team_.lane(); j < m_; j += warp_size)
        laplacian_.panel()[p * m_ + j] = plan(i, j) * scale;
    }
  }

  // For the smaller side with right-hand side x, sums r and unknowns u, and the larger one with y, c and v.
  KANTORCH_DEVICE void solve(Index small, Index large, const double* x, const double* y,
                             const double* r, const double* c, double* u, double* v, bool rows) {
    for (Index j = team_.rank(); j < large; j += team_.size()) v[j] = quotient(y[j], c[j]);
    team_.sync();
    multiply(!rows, v, u);
    for (Index i = team_.rank(); i < small; i += team_.size()) u[i] = r[i] > 0 ? x[i] - u[i] : 0;
    laplacian_.solve(u);
    multiply(rows, u, rest_);
    for (Index j = team_.rank(); j < large; j += team_.size())
      v[j] = quotient(y[j] - rest_[j], c[j]);
    team_.sync();
  }

  // P^T x (`transposed`) or P x
  KANTORCH_DEVICE void multiply(bool transposed, const double* x, double* out) {
    const Index size = transposed ? n_ : m_;
    const double* const weight = transposed ? passes_.a : passes_.b;
    for (Index k = team_.rank(); k < size; k += team_.size()) weighted_[k] = weight[k] * x[k];
    team_.sync();
    if (transposed) {
      passes_.multiply_transposed(weighted_, passes_.b, out);
    } else {
      passes_.multiply(passes_.a, weighted_, out);
    }
  }

  Passes& passes_;
  Team& team_;
  const Index n_, m_;
  const double* const row_;
  const double* const col_;
  Laplacian<Team> laplacian_;
  double* const weighted_;
  double* const rest_;
};

}  // namespace kantorch::cuda
