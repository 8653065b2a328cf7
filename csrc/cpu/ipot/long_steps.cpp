// Long steps, by Newton's method.
#include <algorithm>
#include <utility>

#include "cpu/ipot/run.hpp"

namespace kantorch::cpu {

// Long steps, each solved to the end by Newton's method, from the present potentials on: one of the
// strength beta / (c - 1) t leads from t to c t, where the plan is at eps = beta / c t. It begins
// where the price of the step before leads. Ends without success where Newton's method stalls far
// from the marginals, at the latest where rounding the potentials changes the plan by tol.
template <class T, class State>
bool IpotRun<T, State>::long_steps(bool* reached) noexcept {
  constexpr double growth = 4;
  const double longest = beta_ / spread_ * problem_.tol * 0x1p53;
  // Where the whole spread is the scale. One stop is there: beyond, rounding may allow nothing better.
  const double longest_whole = beta_ / whole_spread_ * problem_.tol * 0x1p53;
  const double enough = is_precise(problem_) ? longest_whole / 256 : 0;
  double t = static_cast<double>(work_.state.steps()), from = 0;
  *reached = false;
  if (t >= longest) return true;
  std::fill_n(work_.f_from, n_, 0.0);
  std::fill_n(work_.g_from, m_, 0.0);
  while (made() < problem_.max_iter) {
    normal_.eps = beta_ / t;
    work_.passes.set_rate(rate_of(normal_.eps));
    Index steps;
    bool stalled;
    if (!work_.newton.run(work_.a, work_.b, work_.f, work_.g, problem_.tol / 4,
                          std::min(most_newton, problem_.max_iter - made()), &steps, &stalled))
      return false;
    stalled |= steps == most_newton;
    other_steps_ += std::max<Index>(steps, 1);
    const bool had_converged = converged_;
    std::swap(work_.price, work_.price_from);
    for (Index i = 0; i < n_; ++i)
      work_.price[i] = beta_ * ((work_.f[i] - work_.f_from[i]) / (t - from));
    double worst;
    if (!write(made() >= problem_.max_iter, &worst)) return false;
    const bool had_reached = *reached;
    *reached = worst <= problem_.tol;
    if ((had_reached && !*reached) || (!near_ && had_converged && !converged_ && from > 0)) {
      // One step too far: its digits are worse than those of the step before, which are good, or good beside the long tail.
      std::swap(work_.price, work_.price_from);
      std::copy_n(work_.f_from, n_, work_.f);
      std::copy_n(work_.g_from, m_, work_.g);
      normal_.eps = beta_ / from;
      work_.passes.set_rate(rate_of(normal_.eps));
      *reached = true;
      return write(true, &worst);
    }
    if ((*reached && t >= enough) || t >= longest ||
        (stalled && result_.marginal_error[k_] > problem_.tol))
      return true;
    const double next = *reached
                            ? enough
                            : std::min(growth * t, t < longest_whole ? longest_whole : longest),
                 ahead = (next - t) / (t - from);
    for (Index i = 0; i < n_; ++i) {
      const double now = work_.f[i];
      work_.f[i] += ahead * (now - work_.f_from[i]);
      work_.f_from[i] = now;
    }
    for (Index j = 0; j < m_; ++j) {
      const double now = work_.g[j];
      work_.g[j] += ahead * (now - work_.g_from[j]);
      work_.g_from[j] = now;
    }
    from = t;
    t = next;
  }
  return true;
}

template bool IpotRun<float, IpotState<float>>::long_steps(bool*) noexcept;
template bool IpotRun<float, IpotLog<float>>::long_steps(bool*) noexcept;
template bool IpotRun<double, IpotState<double>>::long_steps(bool*) noexcept;
template bool IpotRun<double, IpotLog<double>>::long_steps(bool*) noexcept;

}  // namespace kantorch::cpu
