// Which costs count for a step, how large its strength is, and what a gap is measured by.
#include "cpu/ipot/run.hpp"

namespace kantorch::cpu {

template <class T, class State>
bool IpotRun<T, State>::choose_step() noexcept {
  beta_ = problem_.strength == nullptr ? 0 : problem_.strength[k_];
  const bool given = beta_ > 0;
  if (fixed_ && given) return true;
  CostRows<T>& cost = work_.passes.cost_rows();
  CostRange range;
  if (!cost_range(cost, work_.a, work_.b, exec_, &range)) return false;
  spread_ = whole_spread_ = range.high - range.low;
  lowest_ = range.low;
  largest_ = range.size();
  double limit = infinity;
  if (!fixed_ && !narrow_below_voids(cost, work_.a, work_.b, {0, least_share_below, tried_}, exec_,
                                     &range, &limit))
    return false;
  near_ = limit < infinity;
  if (near_) spread_ = range.high - range.low;
  exponent_ = range.size();
  CostExcess excess;
  bool stopped = false;
  if (!fixed_)
    spread_ = without_tail(spread_, [&](double height) {
      stopped |=
          !cost_excess(cost, work_.a, work_.b, range.low, range.low + height, exec_, &excess);
      return !stopped && excess.mean > 0 ? excess.share : 0;
    });
  if (stopped) return false;
  if (given && !near_) return true;
  if (!cost_excess(cost, work_.a, work_.b, range.low, limit, exec_, &excess)) return false;
  near_most_ = range.high + (range.high - range.low);
  near_half_ = range.half();
  if (!given) beta_ = excess.mean > 0 ? 0.1 * excess.mean : 1;  // any, if the cost is constant
  return true;
}

template bool IpotRun<float, IpotState<float>>::choose_step() noexcept;
template bool IpotRun<float, IpotLog<float>>::choose_step() noexcept;
template bool IpotRun<double, IpotState<double>>::choose_step() noexcept;
template bool IpotRun<double, IpotLog<double>>::choose_step() noexcept;

}  // namespace kantorch::cpu
