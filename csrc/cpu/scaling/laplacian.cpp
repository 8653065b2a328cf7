#include "cpu/scaling/laplacian.hpp"

#include <algorithm>
#include <limits>

#include "cpu/runtime/pool.hpp"
#include "cpu/simd/laplacian_rows.hpp"

namespace kantorch::cpu {
namespace {

constexpr Index strip = 32;  // rows per chunk of a threaded update

double reciprocal(double x) noexcept { return x > std::numeric_limits<double>::min() ? 1 / x : 0; }

}  // namespace

Laplacian::Laplacian(Arena& arena, Index size, double* weights) noexcept
    : size_(size),
      stride_(stride_for(size)),
      weights_(weights),
      ground_(arena.take<double>(size)),
      floor_(arena.take<double>(size)),
      pivot_(arena.take<double>(size)),
      panel_(arena.take<double>(panel_depth * stride_)) {}

void Laplacian::clear() noexcept {
  std::fill_n(weights_, size_ * stride_, 0.0);
  std::fill_n(ground_, size_, 0.0);
  std::fill_n(floor_, size_, 0.0);
}

bool Laplacian::add_products(Index depth, const Cpu& exec) noexcept {
  const auto& loops = laplacian_table();
  return parallel_for((size_ + strip - 1) / strip, exec, [&](Index chunk) {
    const Index i = chunk * strip;
    loops.rank_update(weights_ + i * stride_ + i, stride_, std::min(strip, size_ - i), size_ - i,
                      panel_ + i, stride_, panel_ + i, stride_, depth);
  });
}

bool Laplacian::factor(const Cpu& exec) noexcept {
  const auto& loops = laplacian_table();
  for (Index start = 0; start < size_; start += panel_depth) {
    const Index end = std::min(start + panel_depth, size_);
    for (Index p = start; p < end; ++p) {
      const double* row = weights_ + p * stride_;
      pivot_[p] = ground_[p] + loops.sum(row + p + 1, size_ - p - 1);
      if (!(pivot_[p] > floor_[p])) pivot_[p] = 0;
      const double inverse = reciprocal(pivot_[p]);
      for (Index q = p + 1; q < end; ++q) {
        const double share = row[q] * inverse;
        if (share == 0) continue;
        loops.add_multiple(share, row + q + 1, size_ - q - 1, weights_ + q * stride_ + q + 1);
        ground_[q] += share * ground_[p];
        floor_[q] += share * floor_[p];
      }
    }
    if (end == size_) break;
    for (Index p = start; p < end; ++p) {
      double* shares = panel_ + (p - start) * stride_;
      loops.scale(reciprocal(pivot_[p]), weights_ + p * stride_ + end, size_ - end, shares + end);
      loops.add_multiple(ground_[p], shares + end, size_ - end, ground_ + end);
      loops.add_multiple(floor_[p], shares + end, size_ - end, floor_ + end);
    }
    if (!parallel_for((size_ - end + strip - 1) / strip, exec, [&](Index chunk) {
          const Index i = end + chunk * strip;
          loops.rank_update(weights_ + i * stride_ + i, stride_, std::min(strip, size_ - i),
                            size_ - i, panel_ + i, stride_, weights_ + start * stride_ + i, stride_,
                            end - start);
        })) {
      return false;
    }
  }
  return true;
}

void Laplacian::solve(double* x) const noexcept {
  const auto& loops = laplacian_table();
  for (Index p = 0; p < size_; ++p) {
    x[p] *= reciprocal(pivot_[p]);
    loops.add_multiple(x[p], weights_ + p * stride_ + p + 1, size_ - p - 1, x + p + 1);
  }
  for (Index p = size_ - 1; p >= 0; --p) {
    const double inflow = loops.dot(weights_ + p * stride_ + p + 1, x + p + 1, size_ - p - 1);
    x[p] += inflow * reciprocal(pivot_[p]);
  }
}

}  // namespace kantorch::cpu
