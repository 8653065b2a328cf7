#include "cpu/simd/finite.hpp"
#include "cpu/simd/pack.hpp"

namespace kantorch::cpu::KANTORCH_SIMD {
namespace {

// x - x is 0 for finite numbers and NaN for all others; a sum keeps the NaN. Integer maxima of the
// bits, which also tell, are slow where there is no instruction for 64 bits (before AVX-512).
template <class T>
bool all_finite(const T* x, Index size) noexcept {
  constexpr Index width = Pack<T>::size, parts = 4;
  Pack<T> sums[parts];
  for (Pack<T>& sum : sums) sum = Pack<T>::all(0);
  Index i = 0;
  for (; i + parts * width <= size; i += parts * width) {
    for (Index k = 0; k < parts; ++k) {
      const Pack<T> y = Pack<T>::load(x + i + k * width);
      sums[k] = sums[k] + (y - y);
    }
  }
  T rest = 0;
  for (; i < size; ++i) rest += x[i] - x[i];
  const Pack<T> sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  for (Index k = 0; k < width; ++k) rest += sum[k];
  return rest == 0;
}

}  // namespace

extern const FiniteRows finite_table;
const FiniteRows finite_table = {all_finite<float>, all_finite<double>};

}  // namespace kantorch::cpu::KANTORCH_SIMD
