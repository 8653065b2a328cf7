// Rows of the plan for any potentials and weights: a warp takes a row, and then a lane a column of all of the block's
// rows. So costs are read twice, shortly after each other. See held_rows.hpp.
#pragma once

#include "cuda/runtime/collective.hpp"
#include "cuda/scaling/streamed.hpp"

namespace kantorch::cuda {

template <class Passes, class T>
class AnyRows {
 public:
  KANTORCH_DEVICE AnyRows(Passes& passes, double omega) : passes_(passes), omega_(omega) {}

  // As of HeldRows.
  template <class Cost>
  KANTORCH_DEVICE void update(const Cost& at, Index first, Index last, double* sums) {
    auto& team = passes_.team;
    for (Index row = first; row < last; row += streamed_warps) {
      const Index left = last - row, i = row + team.block_warp();
      if (i < last) {
        const double sum = row_sum(at, i);
        const double plain =
            is_in_exponential_range(sum) ? passes_.f[i] - log(sum) : passes_.row_potential(i);
        team.sync_warp();  // all of its lanes have read F_i
        if (team.lane() == 0) passes_.update(passes_.a[i], passes_.f[i], plain, omega_);
      }
      team.sync_block();
      add_rows(at, row, left < streamed_warps ? static_cast<int>(left) : streamed_warps, sums,
               row == first);
    }
  }

 private:
  // sum_j b_j exp(F_i + G_j - rate C_ij). Costs are asked for some at a time, as each takes long to come.
  template <class Cost>
  KANTORCH_DEVICE double row_sum(const Cost& at, Index i) {
    constexpr int ahead = 4;
    auto& team = passes_.team;
    const Index m = passes_.m;
    const double before = passes_.f[i];
    double sum = 0;
    for (Index first = team.lane(); first < m; first += ahead * warp_size) {
      T costs[ahead];
      KANTORCH_UNROLL
      for (int k = 0; k < ahead; ++k) {
        const Index j = first + k * warp_size;
        costs[k] = at(i, j < m ? j : first);
      }
      KANTORCH_UNROLL
      for (int k = 0; k < ahead; ++k) {
        const Index j = first + k * warp_size;
        const double weight = j < m ? passes_.b[j] : 0;
        if (weight > 0) sum += weight * passes_.entry_of(before + passes_.g[j], costs[k]);
      }
    }
    return reduce_lanes(team, sum, Sum{});
  }

  // Adds a_i exp(F_i + G_j - rate C_ij) b_j of `count` rows to sums, of this block, or writes them there.
  template <class Cost>
  KANTORCH_DEVICE void add_rows(const Cost& at, Index row, int count, double* sums, bool are_new) {
    auto& team = passes_.team;
    double weight[streamed_warps], potential[streamed_warps];
    KANTORCH_UNROLL
    for (int r = 0; r < streamed_warps; ++r) {
      weight[r] = r < count ? passes_.a[row + r] : 0;
      potential[r] = r < count ? passes_.f[row + r] : 0;
    }
    for (Index j = team.block_rank(); j < passes_.m; j += team.block_size()) {
      const double of_column = passes_.b[j];
      if (!(of_column > 0)) continue;
      T costs[streamed_warps];
      KANTORCH_UNROLL
      for (int r = 0; r < streamed_warps; ++r) costs[r] = at(row + (r < count ? r : 0), j);
      double sum = 0;
      KANTORCH_UNROLL
      for (int r = 0; r < streamed_warps; ++r)
        if (weight[r] > 0)
          sum += weight[r] * passes_.entry_of(potential[r] + passes_.g[j], costs[r]);
      sums[j] = (are_new ? 0 : sums[j]) + of_column * sum;
    }
  }

  Passes& passes_;
  const double omega_;
};

}  // namespace kantorch::cuda
