#include "cpu/simd/abs_max.hpp"

#include <cstring>

namespace kantorch::cpu::KANTORCH_SIMD {
namespace {

// Lanes and not one accumulator, so that the loop needs no reassociation to be vectorised.
template <class Bits, class T>
Bits abs_max(const T* x, Index size) noexcept {
  constexpr Index lanes = 64 / static_cast<Index>(sizeof(T));
  constexpr Bits mask = static_cast<Bits>(-1) >> 1;
  Bits top[lanes] = {};
  Index i = 0;
  for (; i + lanes <= size; i += lanes) {
    Bits bits[lanes];
    std::memcpy(bits, x + i, sizeof(bits));
    for (Index l = 0; l < lanes; ++l) {
      const Bits magnitude = bits[l] & mask;
      top[l] = magnitude > top[l] ? magnitude : top[l];
    }
  }
  for (; i < size; ++i) {
    Bits bits;
    std::memcpy(&bits, x + i, sizeof(bits));
    bits &= mask;
    top[0] = bits > top[0] ? bits : top[0];
  }
  for (Index l = 1; l < lanes; ++l) top[0] = top[l] > top[0] ? top[l] : top[0];
  return top[0];
}

}  // namespace

extern const AbsMaxRows abs_max_table;
const AbsMaxRows abs_max_table = {abs_max<std::uint32_t, float>, abs_max<std::uint64_t, double>};

}  // namespace kantorch::cpu::KANTORCH_SIMD
