// How the threads are shared between the problems of a batch and the rows of a problem.
#pragma once

#include <atomic>

#include "core/exec.hpp"
#include "core/status.hpp"
#include "core/view.hpp"
#include "cpu/runtime/pool.hpp"

namespace kantorch::cpu {

// Problems that are solved at the same time: many or small problems run one per thread, a few large
// ones one after the other, each on all threads. The result of a problem does not depend on it.
inline Index slots(Index batch, Index rows, Index cols, int threads) noexcept {
  constexpr Index small = Index{1} << 16;
  if (threads <= 1 || batch <= 1) return 1;
  if (batch < 4 * threads && rows * cols > small) return 1;
  return batch < threads ? batch : threads;
}

// Calls solve(problem, slot, exec), which returns false if it was stopped, for every problem.
// Returns false if one of them was.
template <class Solve>
bool for_each_problem(Index batch, Index slots, const Cpu& exec, Solve&& solve) noexcept {
  const Session session(exec);
  std::atomic<Index> next{0};
  std::atomic<bool> finished{true};
  const Cpu inner = slots > 1 ? exec.serial() : exec;
  const auto run = [&](Index slot) {
    for (Index k = next++; k < batch && finished; k = next++) {
      if (!solve(k, slot, inner)) finished = false;
    }
  };
  if (slots > 1) return parallel_for(slots, exec, run) && finished;
  run(0);
  return finished;
}

// Handing half of a pass of microseconds to another thread costs more than it saves.
constexpr bool is_small(Index rows, Index cols) noexcept { return rows * cols < (Index{1} << 17); }

// The threads for passes over one cost.
inline Cpu for_passes(const Cpu& exec, Index rows, Index cols) noexcept {
  return is_small(rows, cols) ? exec.serial() : exec;
}

// The scratch of a batch whose problems need so many bytes each while they are solved.
template <class T>
Index workspace_of(const CostBatch<T>& cost, Index bytes, int threads) noexcept {
  return slots(cost.batch, cost.rows, cost.cols, threads) * bytes;
}

// Calls solve(k, memory, exec) for every problem, with that scratch and the threads for its passes.
template <class T, class Solve>
Outcome solve_batch(const CostBatch<T>& cost, Index bytes, void* workspace, const Cpu& exec,
                    Solve&& solve) noexcept {
  const Index at_once = slots(cost.batch, cost.rows, cost.cols, exec.threads);
  const auto one = [&](Index k, Index slot, const Cpu& inner) {
    return solve(k, static_cast<char*>(workspace) + slot * bytes,
                 for_passes(inner, cost.rows, cost.cols));
  };
  return for_each_problem(cost.batch, at_once, exec, one) ? Outcome::done : Outcome::interrupted;
}

// The rows of a problem in blocks that depend on its size alone, so that sums over blocks do too.
struct RowBlocks {
  static constexpr Index most = 32;

  Index rows;
  Index size;
  Index count;
  Index poll;  // rows between two questions whether to stop

  constexpr RowBlocks(Index n, Index m) noexcept
      : rows(n),
        size(is_small(n, m) ? n
             : n <= 512     ? 32
             : n <= 2048    ? 64
                            : (n + 1023) / 1024 * 32),
        count((n + size - 1) / size),
        poll(m < 32768 ? 32768 / m : 1) {}

  // Calls body(i) for the rows of a block, unless it is stopped.
  template <class Body>
  void each(Index block, const Cpu& exec, Body&& body) const noexcept {
    for (Index i = first(block); i < last(block); ++i) {
      if (i % poll == 0 && exec.stopped()) return;
      body(i);
    }
  }

  constexpr Index first(Index block) const noexcept { return block * size; }
  constexpr Index last(Index block) const noexcept {
    return (block + 1) * size < rows ? (block + 1) * size : rows;
  }
};

}  // namespace kantorch::cpu
