// Floats in the order of integers.
#pragma once

#include <cstdint>
#include <cstring>

#include "common/host_device.hpp"

namespace kantorch {

KANTORCH_BOTH std::uint32_t ordered(float value) noexcept {
  std::uint32_t word;
  memcpy(&word, &value, sizeof(word));
  return word >> 31 != 0 ? ~word : word | 0x80000000u;
}

}  // namespace kantorch
