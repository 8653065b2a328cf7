#include "cpu/simd/abs_max.hpp"

#include <cstring>

namespace kantorch::cpu::KANTORCH_SIMD {
namespace {

#if defined(__GNUC__) || defined(__clang__)
// Vectors of the compiler's: from an array of lanes GCC makes scalar code.
template <class Bits>
struct Words {
  typedef Bits Vector __attribute__((vector_size(KANTORCH_VECTOR_BYTES)));
  static constexpr Index size = KANTORCH_VECTOR_BYTES / static_cast<Index>(sizeof(Bits));
};

template <class Bits, class T>
Bits abs_max(const T* x, Index size) noexcept {
  typedef typename Words<Bits>::Vector Vector;
  constexpr Index lanes = Words<Bits>::size, chains = 4;
  constexpr Bits mask = static_cast<Bits>(-1) >> 1;
  Vector tops[chains] = {};
  Index i = 0;
  for (; i + chains * lanes <= size; i += chains * lanes) {
    for (Index c = 0; c < chains; ++c) {
      Vector bits;
      std::memcpy(&bits, x + i + c * lanes, sizeof(bits));
      bits &= mask;
      tops[c] = bits > tops[c] ? bits : tops[c];
    }
  }
  Bits top = 0;
  for (Index c = 0; c < chains; ++c) {
    for (Index l = 0; l < lanes; ++l) top = tops[c][l] > top ? tops[c][l] : top;
  }
  for (; i < size; ++i) {
    Bits bits;
    std::memcpy(&bits, x + i, sizeof(bits));
    bits &= mask;
    top = bits > top ? bits : top;
  }
  return top;
}
#else
template <class Bits, class T>
Bits abs_max(const T* x, Index size) noexcept {
  constexpr Bits mask = static_cast<Bits>(-1) >> 1;
  Bits top = 0;
  for (Index i = 0; i < size; ++i) {
    Bits bits;
    std::memcpy(&bits, x + i, sizeof(bits));
    bits &= mask;
    top = bits > top ? bits : top;
  }
  return top;
}
#endif

}  // namespace

extern const AbsMaxRows abs_max_table;
const AbsMaxRows abs_max_table = {abs_max<std::uint32_t, float>, abs_max<std::uint64_t, double>};

}  // namespace kantorch::cpu::KANTORCH_SIMD
