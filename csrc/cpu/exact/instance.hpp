// One exact problem as the network simplex sees it.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <vector>

#include "core/exact.hpp"
#include "core/exec.hpp"
#include "cpu/exact/tree.hpp"
#include "cpu/runtime/pool.hpp"
#include "cpu/simd/reduced_cost.hpp"

namespace kantorch::cpu::network {

// The points whose mass is at least about 2^-52 of the total; the others are put back at the end.
//
// Working costs c = C * scale - base span [0, 1] over these points: scale is a power of two, so the
// answer does not depend on the cost's unit, and the subtraction costs nothing in precision beyond
// a rounding relative to the span, so that large offsets do no harm.
//
// Working weights are integers of equal sums below 2^52, held in doubles: flows and ratio tests are
// exact, and degeneracy is exact.
template <class T>
struct Instance {
  MatrixView<T> cost;
  std::vector<Node> rows;  // working row -> row of the cost
  std::vector<Node> cols;
  std::vector<double> a;
  std::vector<double> b;
  std::vector<T> lows;  // the least costs of the working rows
  double lowest = 0;    // cost of the working points
  double highest = 0;
  double scale = 1;
  double base = 0;
  int exponent = 0;    // scale = 2^-exponent
  double mass = 0;     // of the given a
  double b_scale = 1;  // what brings the given b to this mass

  // Leaves no points if there is no mass. False if stopped; throws bad_alloc.
  bool prepare(const MatrixView<T>& cost, const double* a, const double* b, const Cpu& exec);
  bool empty() const noexcept { return rows.empty(); }
  Index n() const noexcept { return static_cast<Index>(rows.size()); }
  Index m() const noexcept { return static_cast<Index>(cols.size()); }

  double working(T c) const noexcept { return static_cast<double>(c) * scale - base; }
  double operator()(Index i, Index j) const noexcept { return working(cost.row(rows[i])[cols[j]]); }

  // Asks for an entry that will be read soon: far apart, they are not in the cache.
  void prefetch(Index i, Index j) const noexcept {
#if defined(__GNUC__) || defined(__clang__)
    __builtin_prefetch(cost.row(rows[i]) + cols[j]);
#else
    static_cast<void>(i);
    static_cast<void>(j);
#endif
  }

  // Working row i with its columns side by side: in the cost if every column takes part, otherwise
  // gathered into `buffer`, of m elements.
  const T* row(Index i, T* buffer) const noexcept {
    const T* full = cost.row(rows[i]);
    if (m() == cost.cols) return full;
    for (Index j = 0; j < m(); ++j) buffer[j] = full[cols[j]];
    return buffer;
  }

 private:
  bool set_scale(const Cpu& exec);
};

// The threads of `exec` for a loop over so many entries, if they pay.
inline Cpu team(const Cpu& exec, Index entries) noexcept {
  constexpr Index worthwhile = Index{1} << 18;
  return entries < worthwhile ? exec.serial() : exec;
}

// body(i, C_i) for every working row, in parallel by blocks of rows; false if stopped.
template <class T, class Body>
bool for_rows(const Instance<T>& instance, const Cpu& exec, const Body& body) {
  constexpr Index most_blocks = 64;
  constexpr Index poll_entries = 65536;
  const Index n = instance.n();
  const Index m = instance.m();
  const Index block = std::max((n + most_blocks - 1) / most_blocks, std::min(n, 16384 / m + 1));
  const Index blocks = (n + block - 1) / block;
  const bool gather = m != instance.cost.cols;
  std::vector<T> buffers(gather ? static_cast<std::size_t>(blocks * m) : 0);
  std::atomic<bool> whole{true};
  const bool complete = parallel_for(blocks, team(exec, n * m), [&](Index k) {
    T* buffer = gather ? buffers.data() + k * m : nullptr;
    Index entries = 0;
    for (Index i = k * block; i < std::min(n, (k + 1) * block); ++i) {
      body(i, instance.row(i, buffer));
      entries += m;
      if (entries < poll_entries) continue;
      entries = 0;
      if (!exec.stopped()) continue;
      whole = false;
      return;
    }
  });
  return complete && whole;
}

}  // namespace kantorch::cpu::network
