#include "cpu/simd/level.hpp"
#include "cpu/simd/reduced_cost.hpp"

namespace kantorch::cpu {

namespace baseline {
extern const ReducedCostTable reduced_cost_table;
}
#ifdef KANTORCH_X86_LEVELS
namespace avx2 {
extern const ReducedCostTable reduced_cost_table;
}
namespace avx512 {
extern const ReducedCostTable reduced_cost_table;
}
#endif

const ReducedCostTable& reduced_cost() noexcept {
#ifdef KANTORCH_X86_LEVELS
  return pick(baseline::reduced_cost_table, avx2::reduced_cost_table, avx512::reduced_cost_table);
#else
  return baseline::reduced_cost_table;
#endif
}

}  // namespace kantorch::cpu
