#include "cpu/sinkhorn_log.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/simd/log_rows.hpp"
#include "cpu/simd/scaling_rows.hpp"

namespace kantorch::cpu {
namespace {

// How far a potential may move in an iteration without a largest exponent: what underflows is then
// below e^-87 + 2 * 20 of the row sum.
template <class T>
constexpr double bound = sizeof(T) == sizeof(float) ? 20 : 200;

// The largest |F| + |G| for float arithmetic: an exponent is then off by at most 2^-24 * 2 * 128 /
// log 2 = 2e-5.
constexpr double float_reach = 128;

constexpr double float_error = 3e-6;

constexpr Index strip = 64;  // rows whose column sums are added up in T

template <class T>
bool safe(const ScalingRange& range) noexcept {
  return range.low >= std::exp(-bound<T>) && range.high <= std::exp(bound<T>) &&
         std::isfinite(range.error);
}

}  // namespace

template <class T>
LogForm<T>::LogForm(Arena& arena, GibbsPasses<T>& passes, Index n, Index m) noexcept
    : passes_(passes),
      rows_(n),
      cols_(m),
      offset_(arena.take<double>(n)),
      g_offset_(arena.take<T>(m)),
      w_(arena.take<T>(m)),
      u_(arena.take<double>(n)),
      v_(arena.take<double>(m)),
      ones_(arena.take<double>(m)),
      ranges_(arena.take<ScalingRange>(passes.blocks().count)) {}

template <class T>
void LogForm<T>::start(const double* a, const double* b, double* f, double* g) noexcept {
  a_ = a;
  b_ = b;
  f_ = f;
  g_ = g;
  settled_ = refined_ = false;
  std::fill_n(ones_, cols_, 1.0);
}

template <class T>
bool LogForm<T>::refined_step(double omega, double* error) noexcept {
  std::copy_n(f_, rows_, u_);
  std::copy_n(g_, cols_, v_);
  if (!settled_) omega = 1;
  if (!passes_.iterate(f_, g_, omega)) return false;
  // exp((F before - F) / omega) is the row's sum before its update, relative to its weight.
  double off = 0, moved = 0;
  for (Index i = 0; i < rows_; ++i) off += a_[i] * std::abs(std::expm1((u_[i] - f_[i]) / omega));
  for (Index j = 0; j < cols_; ++j) {
    off += b_[j] * std::abs(std::expm1((v_[j] - g_[j]) / omega));
    moved = std::max(moved, std::abs(g_[j] - v_[j]));
  }
  *error = off;
  settled_ = moved < bound<T> / 2;
  return true;
}

// Writes the offsets, with a constant moved from G to F that makes both small.
template <class T>
bool LogForm<T>::in_reach() noexcept {
  const auto [low, high] = std::minmax_element(g_, g_ + cols_);
  const double shift = (*low + *high) / 2;
  double largest = 0;
  for (Index i = 0; i < rows_; ++i) {
    offset_[i] = (f_[i] + shift) / log_unit<T>;
    largest = std::max(largest, std::abs(f_[i] + shift));
  }
  if (sizeof(T) == sizeof(float) && !(largest + (*high - *low) / 2 <= float_reach)) return false;
  for (Index j = 0; j < cols_; ++j) {
    g_offset_[j] = static_cast<T>((g_[j] - shift) / log_unit<T>);
    w_[j] = static_cast<T>(b_[j]);
  }
  return true;
}

template <class T>
bool LogForm<T>::step(double omega, double* error) noexcept {
  if (refined_ || !settled_ || !in_reach()) return refined_step(omega, error);
  const auto& loops = log_rows<T>();
  const RowBlocks& blocks = passes_.blocks();
  CostRows<T>& cost = passes_.cost_rows();
  const T rate = static_cast<T>(passes_.rate() / log_unit<T>);
  const bool finished = parallel_for(blocks.count, passes_.control(), [&](Index block) {
    T* col = reinterpret_cast<T*>(passes_.block_row(block));
    double* total = passes_.block_sum(block);
    ranges_[block] = {};
    std::fill_n(col, cols_, T{0});
    const Index first = blocks.first(block), last = blocks.last(block);
    for (Index i = first; i < last;) {
      if (passes_.control().stopped()) return;
      const Index count = cost.group(i, block);
      loops.rows(cost.of_block(block), count, cols_, g_offset_, w_, rate, offset_ + i, a_ + i,
                 omega, u_ + i, col, &ranges_[block]);
      i += count;
      if ((i - first) % strip == 0 || i == last)
        scaling_rows<T>().fold(col, cols_, i - first <= strip, total);
    }
  });
  if (!finished) return false;
  ScalingRange range;
  for (Index block = 0; block < blocks.count; ++block) {
    range.low = std::min(range.low, ranges_[block].low);
    range.high = std::max(range.high, ranges_[block].high);
    range.error += ranges_[block].error;
  }
  scaling_rows<T>().columns(passes_.block_sum(0), blocks.count, 2 * cols_, cols_, b_, omega, ones_,
                            v_, w_, &range);
  // The iteration depends on G alone, which has not moved yet.
  if (!safe<T>(range)) return refined_step(omega, error);
  for (Index i = 0; i < rows_; ++i) f_[i] += std::log(u_[i]);
  for (Index j = 0; j < cols_; ++j) g_[j] += std::log(v_[j]);
  *error = range.error;
  // Closer than float arithmetic sees.
  if (sizeof(T) == sizeof(float) && range.error < float_error) refined_ = true;
  return true;
}

template class LogForm<float>;
template class LogForm<double>;

}  // namespace kantorch::cpu
