#pragma once

#include <cmath>

#include "common/host_device.hpp"

namespace kantorch {

// A sum with the rounding errors of the additions put back (Knuth's two-sum).
class CompensatedSum {
 public:
  KANTORCH_BOTH void add(double x) noexcept {
    const double next = sum_ + x;
    const double back = next - sum_;
    lost_ += (sum_ - (next - back)) + (x - back);
    sum_ = next;
  }
  KANTORCH_BOTH void add(const CompensatedSum& other) noexcept {
    add(other.sum_);
    lost_ += other.lost_;
  }
  KANTORCH_BOTH void subtract(const CompensatedSum& other) noexcept {
    add(-other.sum_);
    lost_ -= other.lost_;
  }
  KANTORCH_BOTH double total() const noexcept { return std::isfinite(sum_) ? sum_ + lost_ : sum_; }

 private:
  double sum_ = 0;
  double lost_ = 0;
};

}  // namespace kantorch
