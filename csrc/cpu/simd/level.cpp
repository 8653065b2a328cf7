#include "cpu/simd/level.hpp"

#include <atomic>

namespace kantorch::cpu {
namespace {

#ifdef KANTORCH_X86_LEVELS
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
