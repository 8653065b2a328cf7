#include "cpu/scaling/gibbs_passes.hpp"

#include <algorithm>
#include <cmath>

#include "cpu/simd/gibbs_rows.hpp"

namespace kantorch::cpu {
namespace {

constexpr double largest_potential = 1e300;

double clamp(double x) noexcept { return std::clamp(x, -largest_potential, largest_potential); }

}  // namespace

template <class T>
GibbsPasses<T>::GibbsPasses(Arena& arena, Index n, Index m, bool stored) noexcept
    : blocks_(n, m),
      cols_(m),
      scratch_(arena.take<double>(blocks_.count * row_stride<double>(2 * m))),
      row_cost_(arena.take<double>(n)),
      cost_(arena, n, m, stored) {}

template <class T>
void GibbsPasses<T>::clear_sums() noexcept {
  for (Index block = 0; block < blocks_.count; ++block) std::fill_n(block_sum(block), cols_, 0.0);
}

template <class T>
void GibbsPasses<T>::reduce(double* out) noexcept {
  std::copy_n(block_sum(0), cols_, out);
  for (Index block = 1; block < blocks_.count; ++block) {
    const double* part = block_sum(block);
    for (Index j = 0; j < cols_; ++j) out[j] += part[j];
  }
}

template <class T>
bool GibbsPasses<T>::iterate(double* f, double* g, double omega) noexcept {
  const auto& rows = gibbs_rows<T>();
  clear_sums();
  const bool finished = for_cost_rows([&](Index i, Index block, const T* c) {
    double* e = block_row(block);
    const RowTop row = rows.softmin(c, g, b_, rate_, cols_, e);
    const double plain = clamp(-(row.top + std::log(row.sum)));
    const double further = omega == 1 ? 0 : (omega - 1) * (plain - f[i]);
    f[i] = plain + further;
    if (a_[i] > 0 && row.sum > 0)
      rows.add(a_[i] / row.sum * std::exp(further), e, cols_, block_sum(block));
  });
  if (!finished) return false;

  // The exponents above are relative to the rows' largest. A column that is far below those of
  // every row has lost its digits; this is rare, and then all columns are summed again relative to
  // their own largest.
  double* col = block_row(0);
  reduce(col);
  for (Index j = 0; j < cols_; ++j) {
    if (!(col[j] > 1e-200 && col[j] < 1e200)) return update_columns(f, g);
  }
  for (Index j = 0; j < cols_; ++j) g[j] = clamp(g[j] - omega * std::log(col[j]));
  return true;
}

template <class T>
bool GibbsPasses<T>::update_rows(double* f, const double* g) noexcept {
  const auto& rows = gibbs_rows<T>();
  return for_cost_rows([&](Index i, Index block, const T* c) {
    const RowTop row = rows.softmin(c, g, b_, rate_, cols_, block_row(block));
    f[i] = clamp(-(row.top + std::log(row.sum)));
  });
}

template <class T>
bool GibbsPasses<T>::bound_rows(double* f, const double* g) noexcept {
  const auto& rows = gibbs_rows<T>();
  double* lowered = block_sum(0);  // in units of the cost
  for (Index j = 0; j < cols_; ++j)
    lowered[j] = b_[j] > 0 ? clamp(g[j] / rate_) : -largest_potential;
  return for_cost_rows(
      [&](Index i, Index, const T* c) { f[i] = clamp(rows.smallest(c, lowered, cols_) * rate_); });
}

template <class T>
bool GibbsPasses<T>::update_columns(const double* f, double* g) noexcept {
  const auto& rows = gibbs_rows<T>();
  for (Index block = 0; block < blocks_.count; ++block)
    std::fill_n(block_sum(block), cols_, -largest_potential);
  if (!for_cost_rows([&](Index i, Index block, const T* c) {
        if (a_[i] > 0) rows.raise(c, f[i], rate_, cols_, block_sum(block));
      })) {
    return false;
  }
  for (Index block = 1; block < blocks_.count; ++block) {
    for (Index j = 0; j < cols_; ++j)
      block_sum(0)[j] = std::max(block_sum(0)[j], block_sum(block)[j]);
  }
  for (Index j = 0; j < cols_; ++j) g[j] = -block_sum(0)[j];
  clear_sums();
  if (!for_cost_rows([&](Index i, Index block, const T* c) {
        double* top = block_row(block);
        if (i == blocks_.first(block)) {
          for (Index j = 0; j < cols_; ++j) top[j] = -g[j];
        }
        if (a_[i] > 0) rows.add_below(c, top, f[i], a_[i], rate_, cols_, block_sum(block));
      })) {
    return false;
  }
  double* col = block_row(0);
  reduce(col);
  for (Index j = 0; j < cols_; ++j) g[j] = clamp(g[j] - std::log(col[j]));
  return true;
}

template <class T>
bool GibbsPasses<T>::measure(const double* f, const double* g, double* row, double* col,
                             PlanSums* sums, double factor) noexcept {
  const auto& rows = gibbs_rows<T>();
  clear_sums();
  if (!for_cost_rows([&](Index i, Index block, const T* c) {
        RowSums row_sums{0, 0};
        if (a_[i] > 0) {
          row_sums = rows.measure(c, g, b_, f[i], factor * a_[i], rate_, cols_, block_sum(block));
        }
        row[i] = row_sums.mass;
        row_cost_[i] = row_sums.cost;
      })) {
    return false;
  }
  reduce(col);
  for (Index j = 0; j < cols_; ++j) col[j] *= b_[j];
  *sums = {};
  for (Index i = 0; i < blocks_.rows; ++i) {
    sums->mass += row[i];
    sums->cost += row_cost_[i];
  }
  return true;
}

template <class T>
bool GibbsPasses<T>::multiply(const double* f, const double* g, const double* x, const double* y,
                              double* out) noexcept {
  const auto& rows = gibbs_rows<T>();
  return for_cost_rows([&](Index i, Index block, const T* c) {
    out[i] = x[i] == 0 ? 0 : rows.measure(c, g, y, f[i], x[i], rate_, cols_, block_sum(block)).mass;
  });
}

template <class T>
bool GibbsPasses<T>::multiply_transposed(const double* f, const double* g, const double* x,
                                         const double* y, double* out) noexcept {
  const auto& rows = gibbs_rows<T>();
  clear_sums();
  if (!for_cost_rows([&](Index i, Index block, const T* c) {
        if (x[i] == 0) return;
        rows.measure(c, g, y, f[i], x[i], rate_, cols_, block_sum(block));
      })) {
    return false;
  }
  double* col = block_row(0);
  reduce(col);
  for (Index j = 0; j < cols_; ++j) out[j] = y[j] * col[j];
  return true;
}

template <class T>
bool GibbsPasses<T>::kernel(const double* f, const double* g, T* k) noexcept {
  const auto& rows = gibbs_rows<T>();
  return for_cost_rows([&](Index i, Index, const T* c) {
    rows.kernel(c, g, f[i], rate_, cols_, k + i * row_stride<T>(cols_));
  });
}

template class GibbsPasses<float>;
template class GibbsPasses<double>;

}  // namespace kantorch::cpu
