// The instruction sets that the vectorised loops are compiled for, and which of them runs.
//
// Every file csrc/cpu/simd/*_rows.cpp is compiled once per level, into the namespace
// kantorch::cpu::KANTORCH_SIMD, and exports a table of functions. Those files use no standard container or algorithm: an inline function of the library,
// compiled for AVX-512, could otherwise be the copy that the linker keeps for everybody.
#pragma once

namespace kantorch::cpu {

enum class Level : int { baseline = 0, avx2 = 1, avx512 = 2 };

// The level in use: the best that this machine has, unless another was forced.
Level level() noexcept;

// Uses `wanted` from now on; false, and no change, if this machine or build lacks it.
bool force_level(Level wanted) noexcept;

const char* level_name(Level level) noexcept;

template <class Table>
const Table& pick(const Table& baseline, const Table& avx2, const Table& avx512) noexcept {
  switch (level()) {
    case Level::avx512:
      return avx512;
    case Level::avx2:
      return avx2;
    default:
      return baseline;
  }
}

#ifdef KANTORCH_X86_LEVELS
#define KANTORCH_TABLE_PER_LEVEL(Table, table) \
  namespace baseline {                         \
  extern const Table table;                    \
  }                                            \
  namespace avx2 {                             \
  extern const Table table;                    \
  }                                            \
  namespace avx512 {                           \
  extern const Table table;                    \
  }                                            \
  inline const Table& table() noexcept { return pick(baseline::table, avx2::table, avx512::table); }
#else
#define KANTORCH_TABLE_PER_LEVEL(Table, table) \
  namespace baseline {                         \
  extern const Table table;                    \
  }                                            \
  inline const Table& table() noexcept { return baseline::table; }
#endif

}  // namespace kantorch::cpu
