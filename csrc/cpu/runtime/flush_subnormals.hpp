// Results below the smallest normal number become 0, as long as one of these is alive on a thread.
//
// x86 takes a hundred and more cycles for each vector operation with a subnormal result. The plans
// of float32 problems are full of such products, and they count for nothing: the loops check that
// their sums and scalings stay far from the ends of the range. Other processors have no such penalty.
#pragma once

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace kantorch::cpu {

class FlushSubnormals {
 public:
#if defined(__x86_64__) || defined(_M_X64)
  FlushSubnormals() noexcept : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8000u); }
  ~FlushSubnormals() { _mm_setcsr(before_); }
  FlushSubnormals(const FlushSubnormals&) = delete;
  FlushSubnormals& operator=(const FlushSubnormals&) = delete;

 private:
  unsigned before_;
#else
  FlushSubnormals() noexcept {}
  ~FlushSubnormals() {}
#endif
};

}  // namespace kantorch::cpu
