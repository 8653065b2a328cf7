#include "cpu/ipot/kernel.hpp"

#include <algorithm>
#include <cmath>

#include "cpu/runtime/block_order.hpp"
#include "cpu/runtime/flush_subnormals.hpp"

namespace kantorch::cpu {
namespace {

// With sums in [2^-top, 2^top], top = reach + slack, and entries of E that grew by at most 2^growth
// since they underflowed below 2^-125 (2^-1021), a lost entry is at most 2^(2 top + growth - 125) <
// 1e-9 of a sum (2^(2 top + growth - 1021)).
template <class T>
struct Limits;
template <>
struct Limits<float> {
  static constexpr int reach = 30, slack = 8, growth = 18;
  static constexpr Index steps = 64;  // the error of K in float, 2^-25, is multiplied by them
};
template <>
struct Limits<double> {
  static constexpr int reach = 200, slack = 60, growth = 200;
  static constexpr Index steps = 256;
};

constexpr Index fewest_steps = 4;  // a build for fewer does not pay

template <class T>
bool within(const KernelRange<T>& range, double bound) noexcept {
  return static_cast<double>(range.low) >= 1 / bound && static_cast<double>(range.high) <= bound;
}

}  // namespace

template <class T>
IpotKernel<T>::IpotKernel(Arena& arena, Index n, Index m, T* power) noexcept
    : n_(n), m_(m), width_(padded(m, tile_columns)), power_(power) {
  if (!fits(n, m)) return;
  const Index rows = padded(n, tile_rows);
  kernel_ = arena.take<T>(buffer(n, m));
  a_ = arena.take<T>(rows);
  b_ = arena.take<T>(width_);
  w_ = arena.take<T>(width_);
  s_ = arena.take<T>(rows);
  s_next_ = arena.take<T>(rows);
  c_ = arena.take<T>(width_);
  c_last_ = arena.take<T>(width_);
  c_next_ = arena.take<T>(width_);
  parts_ = arena.take<T>(blocks() * row_stride<T>(width_));
  e_ = arena.take<T>(blocks() * tile_rows * width_);
}

template <class T>
void IpotKernel<T>::bind(const MatrixView<T>& cost, const double* a, const double* b,
                         const Cpu& exec) noexcept {
  cost_ = cost;
  mass_a_ = a;
  mass_b_ = b;
  exec_ = &exec;
  for (Index i = 0; i < padded(n_, tile_rows); ++i) a_[i] = i < n_ ? static_cast<T>(a[i]) : T{0};
  for (Index j = 0; j < width_; ++j) b_[j] = j < m_ ? static_cast<T>(b[j]) : T{0};
}

template <class T>
bool IpotKernel<T>::build(const double* f0, const double* g0, double rate, Index t, const double* g,
                          const double* g_last, bool* usable) noexcept {
  const auto& loops = ipot_kernel_rows<T>();
  double grown[most_blocks];
  if (!parallel_for(blocks(), *exec_, [&](Index block) {
        const FlushSubnormals guard;
        double top = 0;
        const Index last = std::min(n_, (block + 1) * block_rows);
        for (Index i = block * block_rows; i < last; i += tile_rows) {
          if (exec_->stopped()) return;
          const double x =
              loops.build(cost_.row(i), cost_.row_stride, std::min(tile_rows, last - i), m_, f0 + i,
                          g0, mass_a_ + i, mass_b_, rate, static_cast<double>(t + 1),
                          power_ + i * width_, kernel_ + i * width_);
          top = std::max(top, x);
        }
        grown[block] = top;
      })) {
    return false;
  }
  const double growth = *std::max_element(grown, grown + blocks());
  limit_ = Limits<T>::steps;
  if (growth * static_cast<double>(limit_) > Limits<T>::growth)
    limit_ = static_cast<Index>(Limits<T>::growth / growth);
  age_ = 0;
  advanced_ = true;
  *usable = limit_ >= fewest_steps;
  if (!*usable) return true;

  // 2^-G_t, 2^-G_{t-1} and the extrapolation b_j 2^(2 G_t - G_{t-1}) of the columns' scalings.
  double x[64];
  for (Index j = 0; j < width_; j += 64) {
    const Index size = std::min<Index>(64, width_ - j), in = std::clamp<Index>(m_ - j, 0, size);
    std::fill_n(x, size, 0.0);
    for (Index k = 0; k < in; ++k) x[k] = -g[j + k];
    loops.power(x, size, c_ + j);
    for (Index k = 0; k < in; ++k) x[k] = -g_last[j + k];
    loops.power(x, size, c_last_ + j);
    for (Index k = 0; k < in; ++k) x[k] = 2 * g[j + k] - g_last[j + k];
    loops.power(x, size, w_ + j);
    for (Index k = 0; k < size; ++k) {
      w_[j + k] *= b_[j + k];
      *usable &= static_cast<double>(w_[j + k]) <= std::ldexp(1.0, Limits<T>::reach);
    }
  }
  return true;
}

template <class T>
typename IpotKernel<T>::Step IpotKernel<T>::step() noexcept {
  const auto& loops = ipot_kernel_rows<T>();
  const bool advance = !advanced_;
  KernelRange<T> ranges[most_blocks];
  BlockOrder<most_blocks> block_order(blocks());
  if (!parallel_for(blocks(), *exec_, [&](Index) {
        const Index block = block_order.take();
        const Index first = block * block_rows;
        const Index count = std::min(padded(n_, tile_rows) - first, block_rows);
        ranges[block] =
            loops.rows(power_ + first * width_, kernel_ + first * width_, count, width_, w_,
                       a_ + first, advance, s_next_ + first, e_ + block * tile_rows * width_,
                       parts_ + block * row_stride<T>(width_));
      })) {
    return Step::stopped;
  }
  KernelRange<T> range =
      loops.columns(parts_, row_stride<T>(width_), blocks(), width_, b_, c_, c_next_, w_);
  for (Index block = 0; block < blocks(); ++block) {
    range.low = std::min(range.low, ranges[block].low);
    range.high = std::max(range.high, ranges[block].high);
  }
  constexpr int reach = Limits<T>::reach;
  if (!within(range, std::ldexp(1.0, reach + Limits<T>::slack))) return Step::failed;
  advanced_ = advance;
  ++age_;
  std::swap(s_, s_next_);
  T* before = c_last_;
  c_last_ = c_;
  c_ = c_next_;
  c_next_ = before;
  return age_ < limit_ && within(range, std::ldexp(1.0, reach)) ? Step::made : Step::made_last;
}

template <class T>
void IpotKernel<T>::potentials(double* f, double* g, double* g_last) const noexcept {
  const auto& loops = ipot_kernel_rows<T>();
  if (age_ > 0) loops.minus_log(s_, n_, f);
  loops.minus_log(c_, m_, g);
  loops.minus_log(c_last_, m_, g_last);
}

template class IpotKernel<float>;
template class IpotKernel<double>;

}  // namespace kantorch::cpu
