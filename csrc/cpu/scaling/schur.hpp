// The Schur complement of [[diag(r), P], [P^T, diag(c)]], r = P 1, c = P^T 1: the larger side is
// eliminated, and what remains, diag(r) - P diag(1/c) P^T or its mirror image, is a graph Laplacian
// on the smaller side.
#pragma once

#include "cpu/scaling/gibbs_passes.hpp"
#include "cpu/scaling/laplacian.hpp"

namespace kantorch::cpu {

// A point (F, G) in units of eps, and the weights of its plan.
struct Potentials {
  const double* a = nullptr;
  const double* b = nullptr;
  const double* f = nullptr;
  const double* g = nullptr;
};

template <class T>
class Schur {
 public:
  static constexpr Index size_for(Index n, Index m) noexcept { return n <= m ? n : m; }

  // `weights` as for Laplacian, of size_for(n, m).
  Schur(Arena& arena, GibbsPasses<T>& passes, Index n, Index m, double* weights) noexcept;

  // Forms and factors the Laplacian of the plan at a point, whose sums are `row` and `col`. Each
  // point of the smaller side is grounded by `ground` times its sum. Parts of the plan that share
  // less than `apart` of their mass count as having nothing in common. False if it was stopped, as
  // below. The arrays stay borrowed.
  bool factor(const Potentials& at, const double* row, const double* col, double ground,
              double apart) noexcept;

  // Solves [[diag(r), P], [P^T, diag(c)]] [u; v] = [x; y] there. Points without mass get 0.
  bool solve(const double* x, const double* y, double* u, double* v) noexcept;

 private:
  bool fill_columns(Index first, Index depth) noexcept;
  bool fill_rows(Index first, Index depth) noexcept;
  bool multiply(const double* v, double* pv) noexcept;
  bool multiply_transposed(const double* u, double* pu) noexcept;

  GibbsPasses<T>& passes_;
  Index n_;
  Index m_;
  Laplacian laplacian_;
  double* rest_;
  double* weighted_;
  Potentials at_;
  const double* row_ = nullptr;
  const double* col_ = nullptr;
  double drop_ = 0;
};

}  // namespace kantorch::cpu
