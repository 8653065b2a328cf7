// Steps of IPOT by products alone, on a stored power of the kernel.
//
// With R a reduced cost in units of beta log 2, K = 2^-R and E = 2^-tR are stored, so that the next
// step's E is E K. Both lie in tiles: `tile_rows` rows by one register's worth of columns, tile
// after tile along the columns, so that a pass over a group of rows is one stream. Rows are padded
// to a multiple of tile_rows and columns to a multiple of tile_columns, with ones and no mass.
#pragma once

#include "core/view.hpp"
#include "cpu/simd/level.hpp"

namespace kantorch::cpu {

constexpr Index tile_rows = 8;
constexpr Index tile_columns = 16;  // divisible by every register's worth

// A NaN makes `high` NaN.
template <class T>
struct KernelRange {
  T low = 1;
  T high = 1;
};

template <class T>
struct IpotKernelRows {
  // The tiles of one group of `count` <= tile_rows rows of the cost, R_ij = (c_ij - f_i - g_j)
  // rate. Returns the largest -R_ij, or 0; entries without mass on both sides count as R = 0 at
  // least.
  double (*build)(const T* cost, Index stride, Index count, Index m, const double* f,
                  const double* g, const double* a, const double* b, double rate, double t, T* E,
                  T* K);

  // For each of `count` rows, a multiple of tile_rows: s_i = sum_j w_j e_ij and col_j = sum_i a_i /
  // s_i e_ij. If `advance`, e = E K and E becomes E K K, else e = E. m is padded, `e` holds
  // tile_rows m numbers.
  KernelRange<T> (*rows)(T* E, const T* K, Index count, Index m, const T* w, const T* a,
                         bool advance, T* s, T* e, T* col);

  // c_j is the sum of parts[k * stride + j] over k < count, and w_j = b_j last_j / c_j^2. The range
  // is that of c, and its upper end that of last / c^2 as well. m is padded.
  KernelRange<T> (*columns)(const T* parts, Index stride, Index count, Index m, const T* b,
                            const T* last, T* c, T* w);

  // out_i = 2^x_i and out_i = -log2 x_i.
  void (*power)(const double* x, Index size, T* out);
  void (*minus_log)(const T* x, Index size, double* out);
};

struct IpotKernelTable {
  IpotKernelRows<float> single_rows;
  IpotKernelRows<double> double_rows;

  const IpotKernelRows<float>& rows(float) const noexcept { return single_rows; }
  const IpotKernelRows<double>& rows(double) const noexcept { return double_rows; }
};

KANTORCH_TABLE_PER_LEVEL(IpotKernelTable, ipot_kernel_table)

template <class T>
const IpotKernelRows<T>& ipot_kernel_rows() noexcept {
  return ipot_kernel_table().rows(T{});
}

}  // namespace kantorch::cpu
