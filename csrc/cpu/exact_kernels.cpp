#include "cpu/simd/assignment.hpp"
#include "cpu/simd/level.hpp"
#include "cpu/simd/reduced_cost.hpp"
#include "cpu/simd/sinkhorn_start.hpp"

namespace kantorch::cpu {

namespace baseline {
extern const AssignmentTable assignment_table;
extern const ReducedCostTable reduced_cost_table;
extern const SinkhornStartTable sinkhorn_start_table;
}  // namespace baseline
#ifdef KANTORCH_X86_LEVELS
namespace avx2 {
extern const AssignmentTable assignment_table;
extern const ReducedCostTable reduced_cost_table;
extern const SinkhornStartTable sinkhorn_start_table;
}  // namespace avx2
namespace avx512 {
extern const AssignmentTable assignment_table;
extern const ReducedCostTable reduced_cost_table;
extern const SinkhornStartTable sinkhorn_start_table;
}  // namespace avx512
#endif

const AssignmentTable& assignment() noexcept {
#ifdef KANTORCH_X86_LEVELS
  return pick(baseline::assignment_table, avx2::assignment_table, avx512::assignment_table);
#else
  return baseline::assignment_table;
#endif
}

const ReducedCostTable& reduced_cost() noexcept {
#ifdef KANTORCH_X86_LEVELS
  return pick(baseline::reduced_cost_table, avx2::reduced_cost_table, avx512::reduced_cost_table);
#else
  return baseline::reduced_cost_table;
#endif
}

const SinkhornStartTable& sinkhorn_start() noexcept {
#ifdef KANTORCH_X86_LEVELS
  return pick(baseline::sinkhorn_start_table, avx2::sinkhorn_start_table,
              avx512::sinkhorn_start_table);
#else
  return baseline::sinkhorn_start_table;
#endif
}

}  // namespace kantorch::cpu
