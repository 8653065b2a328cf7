// The scratch of one problem of IPOT at a time.
#pragma once

#include <algorithm>
#include <type_traits>

#include "core/scaling.hpp"
#include "cpu/ipot/log.hpp"
#include "cpu/ipot/state.hpp"
#include "cpu/scaling/bound.hpp"
#include "cpu/scaling/newton.hpp"

namespace kantorch::cpu {

// Newton's matrix of larger problems would be more than 128 MiB, and its time near that of 10 000 plain steps.
inline constexpr Index largest_newton = 4096;

template <class T>
bool has_newton(const ScalingProblem<T>& problem) noexcept {
  return problem.tol > 0 && std::min(problem.cost.rows, problem.cost.cols) <= largest_newton;
}

// State is IpotState<T>, on a stored cost, or IpotLog<T>. Newton's matrix and the numbers of the state are
// never needed at once.
template <class T, class State>
struct IpotWorkspace {
  static constexpr bool stored = std::is_same_v<State, IpotState<T>>;

  IpotWorkspace(Arena& arena, const ScalingProblem<T>& problem) noexcept
      : IpotWorkspace(arena, problem.cost.rows, problem.cost.cols, problem.cost.points.dims,
                      stored && has_newton(problem)) {}

  IpotWorkspace(Arena& arena, Index n, Index m, Index dims, bool second_order) noexcept
      : a(arena.take<double>(n)),
        b(arena.take<double>(m)),
        f(arena.take<double>(n)),
        g(arena.take<double>(m)),
        price(arena.take<double>(n)),
        price_from(arena.take<double>(n)),
        f_from(arena.take<double>(n)),
        g_from(arena.take<double>(m)),
        scratch(arena.take<double>(dual_value_scratch(n, m))),
        large(arena.take<char>(stored ? large_bytes(n, m, second_order) : 0)),
        passes(arena, n, m, stored),
        state(make_state(arena, n, m, dims)),
        newton(arena, passes, second_order ? n : 0, second_order ? m : 0,
               reinterpret_cast<double*>(large)) {}

  static Index large_bytes(Index n, Index m, bool second_order) noexcept {
    const Index numbers = IpotState<T>::buffer(n, m) * static_cast<Index>(sizeof(T));
    const Index matrix =
        Laplacian::weights_for(Schur<T>::size_for(n, m)) * static_cast<Index>(sizeof(double));
    return second_order ? std::max(numbers, matrix) : numbers;
  }

  State make_state(Arena& arena, Index n, Index m, [[maybe_unused]] Index dims) noexcept {
    if constexpr (stored) {
      return State(arena, passes, n, m, reinterpret_cast<T*>(large));
    } else {
      return State(arena, passes, n, m, dims);
    }
  }

  double* a;
  double* b;
  double* f;
  double* g;
  double* price;       // F before the last step, then the price of the last step
  double* price_from;  // price before that
  double* f_from;      // F and G before the last long step
  double* g_from;
  double* scratch;
  char* large;
  GibbsPasses<T> passes;
  State state;
  Newton<T> newton;
};

}  // namespace kantorch::cpu
