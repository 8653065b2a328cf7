#include "cpu/scaling/schur.hpp"

#include <algorithm>
#include <cmath>

#include "cpu/simd/gibbs_rows.hpp"

namespace kantorch::cpu {
namespace {

// Entries of the plan below this share of the ground, relative to their row's and column's sums,
// cannot be felt.
constexpr double drop_share = 1e-3;

double quotient(double x, double y) noexcept { return y > 0 ? x / y : 0; }

}  // namespace

template <class T>
Schur<T>::Schur(Arena& arena, GibbsPasses<T>& passes, Index n, Index m, double* weights) noexcept
    : passes_(passes),
      n_(n),
      m_(m),
      laplacian_(arena, size_for(n, m), weights),
      rest_(arena.take<double>(std::max(n, m))),
      weighted_(arena.take<double>(std::max(n, m))) {}

template <class T>
bool Schur<T>::factor(const Potentials& at, const double* row, const double* col, double ground,
                      double apart) noexcept {
  at_ = at;
  row_ = row;
  col_ = col;
  drop_ = drop_share * ground;
  laplacian_.clear();
  const bool by_columns = n_ <= m_;
  const double* sums = by_columns ? row : col;
  for (Index i = 0; i < laplacian_.size(); ++i) {
    laplacian_.ground()[i] = ground * sums[i];
    laplacian_.floor()[i] = apart * sums[i];
  }
  const Index larger = by_columns ? m_ : n_;
  for (Index first = 0; first < larger; first += Laplacian::panel_depth) {
    const Index depth = std::min(Laplacian::panel_depth, larger - first);
    if (!(by_columns ? fill_columns(first, depth) : fill_rows(first, depth))) return false;
    if (!laplacian_.add_products(depth, passes_.exec())) return false;
  }
  return laplacian_.factor(passes_.exec());
}

// panel[j][i] = P_ij / sqrt(c_j)
template <class T>
bool Schur<T>::fill_columns(Index first, Index depth) noexcept {
  double scale[Laplacian::panel_depth];
  for (Index j = 0; j < depth; ++j) scale[j] = quotient(1, std::sqrt(col_[first + j]));
  const auto& rows = gibbs_rows<T>();
  return passes_.for_rows([&](Index i, Index) {
    double p[Laplacian::panel_depth];
    rows.plan_in_double(passes_.cost().row(i) + first, at_.g + first, at_.b + first, at_.f[i],
                        at_.a[i], passes_.rate(), depth, p);
    double* to = laplacian_.panel() + i;
    for (Index j = 0; j < depth; ++j) {
      const bool felt = p[j] > drop_ * row_[i] || p[j] > drop_ * col_[first + j];
      to[j * laplacian_.stride()] = felt ? p[j] * scale[j] : 0;
    }
  });
}

// panel[i][j] = P_ij / sqrt(r_i)
template <class T>
bool Schur<T>::fill_rows(Index first, Index depth) noexcept {
  const auto& rows = gibbs_rows<T>();
  return parallel_for((depth + 7) / 8, passes_.exec(), [&](Index chunk) {
    for (Index i = chunk * 8; i < std::min(chunk * 8 + 8, depth); ++i) {
      double* p = laplacian_.panel() + i * laplacian_.stride();
      const Index r = first + i;
      rows.plan_in_double(passes_.cost().row(r), at_.g, at_.b, at_.f[r], at_.a[r], passes_.rate(),
                          m_, p);
      const double scale = quotient(1, std::sqrt(row_[r]));
      for (Index j = 0; j < m_; ++j) {
        const bool felt = p[j] > drop_ * row_[r] || p[j] > drop_ * col_[j];
        p[j] = felt ? p[j] * scale : 0;
      }
    }
  });
}

template <class T>
bool Schur<T>::multiply(const double* v, double* pv) noexcept {
  for (Index j = 0; j < m_; ++j) weighted_[j] = at_.b[j] * v[j];
  return passes_.multiply(at_.f, at_.g, at_.a, weighted_, pv);
}

template <class T>
bool Schur<T>::multiply_transposed(const double* u, double* pu) noexcept {
  for (Index i = 0; i < n_; ++i) weighted_[i] = at_.a[i] * u[i];
  return passes_.multiply_transposed(at_.f, at_.g, weighted_, at_.b, pu);
}

template <class T>
bool Schur<T>::solve(const double* x, const double* y, double* u, double* v) noexcept {
  if (n_ <= m_) {
    for (Index j = 0; j < m_; ++j) v[j] = quotient(y[j], col_[j]);
    if (!multiply(v, u)) return false;
    for (Index i = 0; i < n_; ++i) u[i] = row_[i] > 0 ? x[i] - u[i] : 0;
    laplacian_.solve(u);
    if (!multiply_transposed(u, rest_)) return false;
    for (Index j = 0; j < m_; ++j) v[j] = quotient(y[j] - rest_[j], col_[j]);
  } else {
    for (Index i = 0; i < n_; ++i) u[i] = quotient(x[i], row_[i]);
    if (!multiply_transposed(u, v)) return false;
    for (Index j = 0; j < m_; ++j) v[j] = col_[j] > 0 ? y[j] - v[j] : 0;
    laplacian_.solve(v);
    if (!multiply(v, rest_)) return false;
    for (Index i = 0; i < n_; ++i) u[i] = quotient(x[i] - rest_[i], row_[i]);
  }
  return true;
}

template class Schur<float>;
template class Schur<double>;

}  // namespace kantorch::cpu
