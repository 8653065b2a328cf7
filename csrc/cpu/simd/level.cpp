#include "cpu/simd/level.hpp"

#include <atomic>

#if defined(KANTORCH_X86_LEVELS) && defined(_MSC_VER)
#include <intrin.h>
#endif

namespace kantorch::cpu {
namespace {

#if defined(KANTORCH_X86_LEVELS) && defined(_MSC_VER)
Level best() noexcept {
  int leaf1[4], leaf7[4];
  __cpuid(leaf1, 1);
  if (!(leaf1[2] >> 27 & 1)) return Level::baseline;  // the system does not save the wide registers
  __cpuidex(leaf7, 7, 0);
  const unsigned long long saved = _xgetbv(0);
  const bool avx2 = (saved & 0x6) == 0x6 && (leaf7[1] >> 5 & 1) && (leaf1[2] >> 12 & 1);
  const bool avx512 = avx2 && (saved & 0xe6) == 0xe6 && (leaf7[1] >> 16 & 1) &&
                      (leaf7[1] >> 17 & 1) && (leaf7[1] >> 30 & 1) && (leaf7[1] >> 31 & 1);
  return avx512 ? Level::avx512 : avx2 ? Level::avx2 : Level::baseline;
}
#elif defined(KANTORCH_X86_LEVELS)
Level best() noexcept {
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) {
    return Level::avx512;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Level::avx2;
  return Level::baseline;
}
#else
Level best() noexcept { return Level::baseline; }
#endif

std::atomic<Level>& current() noexcept {
  static std::atomic<Level> value{best()};
  return value;
}

}  // namespace

Level level() noexcept { return current().load(std::memory_order_relaxed); }

bool force_level(Level wanted) noexcept {
  if (static_cast<int>(wanted) > static_cast<int>(best())) return false;
  current().store(wanted, std::memory_order_relaxed);
  return true;
}

const char* level_name(Level level) noexcept {
  switch (level) {
    case Level::avx512:
      return "avx512";
    case Level::avx2:
      return "avx2";
    default:
      return "baseline";
  }
}

}  // namespace kantorch::cpu
