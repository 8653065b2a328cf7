#pragma once

#include "bindings/args.hpp"
#include "core/scaling.hpp"

namespace kantorch::bindings {

using ScalingOutputs =
    std::array<Index, 11>;  // the addresses, in the order of ScalingResult's fields

inline ScalingResult scaling_result(const ScalingOutputs& to) noexcept {
  return {address<double>(to[0]),       address<double>(to[1]),       address<double>(to[2]),
          address<double>(to[3]),       address<double>(to[4]),       address<double>(to[5]),
          address<double>(to[6]),       address<double>(to[7]),       address<double>(to[8]),
          address<std::int64_t>(to[9]), address<std::int32_t>(to[10])};
}

}  // namespace kantorch::bindings
