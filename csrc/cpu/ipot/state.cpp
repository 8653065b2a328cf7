#include "cpu/ipot/state.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/runtime/flush_subnormals.hpp"
#include "cpu/simd/gibbs_rows.hpp"
#include "cpu/simd/ipot_rows.hpp"

namespace kantorch::cpu {
namespace {

// How far, in factors of 2, float potentials may be from their references.
constexpr double reach = 18;

// The step before which the stored kernel is not tried again, after it was of no use at step t.
constexpr Index later(Index t) noexcept { return 2 * t + 8; }
// A build costs about as much as this many steps on the kernel save.
constexpr Index worth_storing = 6;

double clamp(double x, double limit) noexcept { return std::clamp(x, -limit, limit); }

}  // namespace

template <class T>
Index IpotState<T>::buffer(Index n, Index m) noexcept {
  if (!single) return 0;
  const Index kernel = IpotKernel<T>::fits(n, m) ? IpotKernel<T>::buffer(n, m) : 0;
  return std::max(kernel, n * row_stride<T>(m));
}

template <class T>
IpotState<T>::IpotState(Arena& arena, GibbsPasses<T>& passes, Index n, Index m, T* large) noexcept
    : passes_(passes),
      n_(n),
      m_(m),
      row_stride_(row_stride<T>(m)),
      small_(single && IpotKernel<T>::fits(n, m)),
      f_(arena.take<double>(n)),
      g_(arena.take<double>(m)),
      g_last_(arena.take<double>(m)),
      f0_(arena.take<double>(n)),
      g0_(arena.take<double>(m)),
      s_(arena.take<double>(n)),
      col_(arena.take<double>(m)),
      A_(arena.take<T>(n)),
      h_(arena.take<T>(m)),
      w_(arena.take<T>(m)),
      e_(arena.take<T>(passes.blocks().count * ipot_group * row_stride<T>(m))),
      reduced_(single ? large : nullptr),
      kernel_(arena, small_ ? n : 0, small_ ? m : 0, reduced_) {}

template <class T>
bool IpotState<T>::start(const MatrixView<T>& cost, const double* a, const double* b, double beta,
                         const double* g_init, const Cpu& exec) noexcept {
  a_ = a;
  b_ = b;
  t_ = 0;
  passes_.bind(cost, a, b, exec);
  rate_ = rate_of(beta) / unit;
  std::fill_n(f_, n_, 0.0);
  std::fill_n(f0_, n_, 0.0);
  for (Index j = 0; j < m_; ++j) {
    // V_0 = 1, and the first column scaling is exp(g_init / beta); but 0 without mass, so that
    // points without mass are as if they were not there.
    g_[j] = b[j] > 0 ? -std::log(b[j]) / unit : 0;
    g0_[j] = g_init == nullptr ? 0 : g_init[j];
    w_[j] = b[j] > 0 ? T{1} : T{0};
    h_[j] = single ? T{0} : static_cast<T>(clamp(g0_[j] * rate_, 1e300));
  }
  // No row knows its offset yet.
  std::fill_n(A_, n_, single ? T(-1e30) : T(-1e200));
  if (!single) {
    std::fill_n(g0_, m_, 0.0);
    return true;
  }
  stored_ = false;
  has_reduced_ = false;
  next_store_ = 0;
  if (small_) kernel_.bind(cost, a, b, exec);
  std::copy_n(g_, m_, g_last_);
  // The smallest cost of a row among columns with mass; without them it could be far from all
  // others.
  for (Index j = 0; j < m_; ++j) col_[j] = b[j] > 0 ? g0_[j] : -1e300;
  const auto& rows = gibbs_rows<T>();
  return passes_.for_rows([&](Index i, Index) { f0_[i] = rows.smallest(cost.row(i), col_, m_); });
}

template <class T>
bool IpotState<T>::step() noexcept {
  if (small_) {
    if (!stored_ && t_ >= next_store_ && !store()) return false;
    if (stored_) {
      bool made;
      if (!stored_step(&made)) return false;
      if (made) return true;
    }
  }
  if (single && !has_reduced_ && !reduce()) return false;
  return log_step();
}

template <class T>
bool IpotState<T>::store() noexcept {
  if (t_ > 0) rebase();
  has_reduced_ = false;
  if (!kernel_.build(f0_, g0_, rate_, t_, g_, g_last_, &stored_)) return false;
  if (!stored_) next_store_ = later(t_);
  return true;
}

template <class T>
bool IpotState<T>::stored_step(bool* made) noexcept {
  typedef typename IpotKernel<T>::Step Step;
  const Step step = kernel_.step();
  if (step == Step::stopped) return false;
  *made = step != Step::failed;
  if (*made) ++t_;
  if (step == Step::made) return true;
  kernel_.potentials(f_, g_, g_last_);
  stored_ = false;
  if (!*made) {
    next_store_ = later(t_);
  } else if (kernel_.age() < worth_storing) {
    next_store_ = t_ + worth_storing;
  }
  return true;
}

template <class T>
bool IpotState<T>::log_step() noexcept {
  const auto& loops = ipot_rows<T>();
  const RowBlocks& blocks = passes_.blocks();
  const MatrixView<T>& cost = passes_.cost();
  ++t_;
  const double t = static_cast<double>(t_);
  HRange range{0, 0};
  if (t_ > 1) range = loops.extrapolate(g_, g_last_, b_, m_, h_, w_);
  for (Index i = 0; i < n_ && !single && t_ > 1; ++i) A_[i] = static_cast<T>(f_[i]);
  // Where the exponents h - t R are in range once R is cut, there is a quicker way. A cut term is
  // below 2^(40 - 126), and counts in sums of at least 2^-28: a share of 2^-58 in a row and, since
  // its row's scaling is below 2^28 too, 2^-30 in a column.
  const bool quick = single && range.high - range.low <= 40 && std::abs(range.low) <= 60 &&
                     range.high - t * least_ <= 126;
  const T cap = quick ? static_cast<T>((126 + range.low) / t) : std::numeric_limits<T>::infinity();
  // Otherwise a term that underflows in float is below 2^-126, and 2^-66 beside a row's sum.
  const double smallest_column = quick ? 0x1p-28 : single ? 0x1p-36 : 1e-25;
  const T slope = static_cast<T>(single ? t : t * rate_);
  const T* r = single ? reduced_ : cost.data;
  const Index stride = single ? row_stride_ : cost.row_stride;
  constexpr Index strip = 64;  // rows whose column sums are added up in T
  Index size = strip;          // rows between two questions whether to stop
  while (size > ipot_group && size * m_ > 65536) size /= 2;
  if (!parallel_for(blocks.count, passes_.exec(), [&](Index block) {
        const FlushSubnormals guard;
        T* col = reinterpret_cast<T*>(passes_.block_row(block));
        double* total = passes_.block_sum(block);
        std::fill_n(col, m_, T{0});
        std::fill_n(total, m_, 0.0);
        const Index first = blocks.first(block), last = blocks.last(block);
        for (Index i = first; i < last; i += size) {
          if (passes_.exec().stopped()) return;
          loops.rows(r + i * stride, stride, std::min(size, last - i), m_, h_, w_, a_ + i, slope,
                     cap, A_ + i, s_ + i, e_ + block * ipot_group * row_stride<T>(m_), col);
          if ((i - first + size) % strip == 0 || i + size >= last) {
            for (Index j = 0; j < m_; ++j) {
              total[j] += static_cast<double>(col[j]);
              col[j] = 0;
            }
          }
        }
      })) {
    return false;
  }
  double moved = loops.subtract_log(A_, s_, 1 / unit, n_, f_);
  passes_.reduce(col_);
  bool lost = false;
  for (Index j = 0; j < m_; ++j) lost |= !(col_[j] > smallest_column && col_[j] < 1e25);
  std::swap(g_, g_last_);
  moved = std::max(moved, loops.subtract_log(h_, col_, 1 / unit, m_, g_));
  if (lost) {
    if (!step_columns_safely()) return false;
    for (Index j = 0; j < m_; ++j) moved = std::max(moved, std::abs(g_[j]));
  }
  if (single && !(moved <= reach)) {
    rebase();
    has_reduced_ = false;
  }
  return true;
}

// G from F by a pass over the cost itself, relative to each column's largest term.
template <class T>
bool IpotState<T>::step_columns_safely() noexcept {
  const double t = static_cast<double>(t_);
  for (Index i = 0; i < n_; ++i) f_[i] = clamp((f_[i] + t * (f0_[i] * rate_)) * unit, 1e300);
  passes_.set_rate(t * (rate_ * unit));
  if (!passes_.update_columns(f_, g_)) return false;
  for (Index i = 0; i < n_; ++i) f_[i] = f_[i] / unit - t * (f0_[i] * rate_);
  for (Index j = 0; j < m_; ++j) g_[j] = g_[j] / unit - t * (g0_[j] * rate_);
  return true;
}

// Moves the references to the potentials of this step.
template <class T>
void IpotState<T>::rebase() noexcept {
  const double t = static_cast<double>(t_), before = t - 1;
  for (Index i = 0; i < n_; ++i) {
    f0_[i] += f_[i] / t / rate_;
    f_[i] = 0;
  }
  for (Index j = 0; j < m_; ++j) {
    g0_[j] += g_[j] / t / rate_;
    g_last_[j] -= g_[j] * (before / t);
    g_[j] = 0;
  }
}

template <class T>
bool IpotState<T>::reduce() noexcept {
  has_reduced_ = true;
  const auto& loops = ipot_rows<T>();
  double least[RowBlocks::most] = {};
  if (!passes_.for_rows([&](Index i, Index block) {
        const double x = loops.reduce(passes_.cost().row(i), g0_, f0_[i], rate_,
                                      a_[i] > 0 ? nullptr : b_, m_, reduced_ + i * row_stride_);
        least[block] = std::min(least[block], x);
      })) {
    return false;
  }
  least_ = *std::min_element(least, least + RowBlocks::most);
  return true;
}

template <class T>
void IpotState<T>::potentials(double* f, double* g) noexcept {
  const double t = static_cast<double>(t_);
  if (stored_) kernel_.potentials(f_, g_, g_last_);
  for (Index i = 0; i < n_; ++i) f[i] = clamp((f_[i] + t * (f0_[i] * rate_)) * unit, 1e300);
  for (Index j = 0; j < m_; ++j) g[j] = clamp((g_[j] + t * (g0_[j] * rate_)) * unit, 1e300);
}

template <class T>
void IpotState<T>::release() noexcept {
  if (stored_) kernel_.potentials(f_, g_, g_last_);
  stored_ = false;
  has_reduced_ = false;
}

template class IpotState<float>;
template class IpotState<double>;

}  // namespace kantorch::cpu
