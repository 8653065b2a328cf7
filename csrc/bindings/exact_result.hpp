// The outputs of the unregularised solvers.
#pragma once

#include "bindings/args.hpp"
#include "core/exact.hpp"

namespace kantorch::bindings {

inline ExactResult exact_result(const std::array<Index, 9>& outputs) noexcept {
  return {address<double>(outputs[0]),       address<double>(outputs[1]),
          address<double>(outputs[2]),       address<std::int64_t>(outputs[3]),
          address<std::int64_t>(outputs[4]), address<double>(outputs[5]),
          address<double>(outputs[6]),       address<std::int64_t>(outputs[7]),
          address<std::int32_t>(outputs[8])};
}

}  // namespace kantorch::bindings
