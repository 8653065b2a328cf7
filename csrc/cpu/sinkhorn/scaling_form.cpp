#include "cpu/sinkhorn/scaling_form.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/runtime/flush_subnormals.hpp"
#include "cpu/simd/scaling_rows.hpp"

namespace kantorch::cpu {
namespace {

// The scalings stay in [exp(-bound), exp(bound)]. An entry of K that underflowed was below e^-87
// (float) or e^-708 (double), so its part of a row sum that is 1 is below e^(2 bound - 87) = 4e-21
// or e^(2 bound - 708).
template <class T>
constexpr double bound = sizeof(T) == sizeof(float) ? 20 : 200;

constexpr Index strip = 64;  // rows whose column sums are added up in T

template <class T>
bool safe(const ScalingRange& range) noexcept {
  return range.low >= std::exp(-bound<T>) && range.high <= std::exp(bound<T>) &&
         std::isfinite(range.error);
}

}  // namespace

template <class T>
ScalingForm<T>::ScalingForm(Arena& arena, GibbsPasses<T>& passes, Index n, Index m,
                            T* kernel) noexcept
    : passes_(passes),
      rows_(n),
      cols_(m),
      kernel_(kernel),
      u_(arena.take<double>(n)),
      v_(arena.take<double>(m)),
      v_next_(arena.take<double>(m)),
      w_(arena.take<T>(m)),
      ranges_(arena.take<ScalingRange>(passes.blocks().count)) {}

template <class T>
void ScalingForm<T>::start(const double* a, const double* b, double* f, double* g) noexcept {
  a_ = a;
  b_ = b;
  f_ = f;
  g_ = g;
  stored_ = false;
  settled_ = false;
  fresh_ = true;
}

template <class T>
void ScalingForm<T>::finish() noexcept {
  if (!stored_) return;
  for (Index i = 0; i < rows_; ++i) f_[i] += std::log(u_[i]);
  for (Index j = 0; j < cols_; ++j) g_[j] += std::log(v_[j]);
  stored_ = false;
}

template <class T>
bool ScalingForm<T>::log_step() noexcept {
  double* before = v_next_;
  std::copy_n(g_, cols_, before);
  if (!passes_.iterate(f_, g_)) return false;
  double moved = 0;
  for (Index j = 0; j < cols_; ++j) moved = std::max(moved, std::abs(g_[j] - before[j]));
  settled_ = moved < bound<T> / 2;
  return true;
}

template <class T>
bool ScalingForm<T>::build() noexcept {
  if (!passes_.kernel(f_, g_, kernel_)) return false;
  std::fill_n(u_, rows_, 1.0);
  std::fill_n(v_, cols_, 1.0);
  for (Index j = 0; j < cols_; ++j) w_[j] = static_cast<T>(b_[j]);
  stored_ = true;
  ++builds_;
  return true;
}

template <class T>
bool ScalingForm<T>::step(double omega, double* error) noexcept {
  *error = std::numeric_limits<double>::infinity();
  if (!stored_) {
    if (fresh_) {
      // F only has to keep K in range; if the scalings then leave theirs, little is lost.
      if (!passes_.bound_rows(f_, g_)) return false;
      fresh_ = false;
      settled_ = true;
      omega = 1;
    }
    if (!settled_) return log_step();
    if (!build()) return false;
  }

  const auto& loops = scaling_rows<T>();
  const Index size =
      cols_ < (Index{1} << 18) ? strip : strip / 8;  // not too long between two stops
  const Index stride = row_stride<T>(cols_);
  const RowBlocks& blocks = passes_.blocks();
  const bool finished = parallel_for(blocks.count, passes_.exec(), [&](Index block) {
    const FlushSubnormals guard;
    T* col = reinterpret_cast<T*>(passes_.block_row(block));
    double* total = passes_.block_sum(block);
    ranges_[block] = {};
    std::fill_n(col, cols_, T{0});
    const Index first = blocks.first(block), last = blocks.last(block);
    for (Index i = first; i < last; i += size) {
      if (passes_.exec().stopped()) return;
      loops.rows(kernel_ + i * stride, stride, std::min(size, last - i), cols_, w_, a_ + i, omega,
                 u_ + i, col, &ranges_[block]);
      loops.fold(col, cols_, i == first, total);
    }
  });
  if (!finished) return false;
  ScalingRange range;
  for (Index block = 0; block < blocks.count; ++block) {
    range.low = std::min(range.low, ranges_[block].low);
    range.high = std::max(range.high, ranges_[block].high);
    range.error += ranges_[block].error;
  }
  loops.columns(passes_.block_sum(0), blocks.count, passes_.block_stride(), cols_, b_, omega, v_,
                v_next_, w_, &range);
  if (safe<T>(range)) {
    std::swap(v_, v_next_);
    *error = range.error;
    return true;
  }
  // The iteration depends on the columns' scalings alone, and the old ones are still there.
  for (Index j = 0; j < cols_; ++j) g_[j] += std::log(v_[j]);
  stored_ = false;
  settled_ = false;
  return log_step();
}

template class ScalingForm<float>;
template class ScalingForm<double>;

}  // namespace kantorch::cpu
