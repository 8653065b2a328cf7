#include "core/check.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <new>
#include <vector>

#include "cpu/runtime/pool.hpp"
#include "cpu/simd/finite.hpp"

namespace kantorch {
namespace cpu {

namespace {

constexpr Index block_entries = Index{1} << 16;

inline bool all_finite(const float* x, Index size) noexcept {
  return finite_table().single(x, size);
}
inline bool all_finite(const double* x, Index size) noexcept {
  return finite_table().twice(x, size);
}

template <class T>
void check_weights(const T* weights, Index size, Index problem, Fault not_finite, Fault negative,
                   double& mass, Finding& finding) noexcept {
  mass = 0;
  for (Index i = 0; i < size; ++i) {
    const double weight = static_cast<double>(weights[i]);
    mass += weight;
    if (weight >= 0 && weight <= std::numeric_limits<double>::max()) continue;
    finding.fault = std::isfinite(weight) ? negative : not_finite;
    finding.problem = problem;
    finding.row = i;
    finding.value = weight;
    return;
  }
}

}  // namespace
}  // namespace cpu

template <class T>
Outcome check(const CheckProblem<T>& problem, Finding& finding, const Cpu& exec) noexcept {
  finding = Finding{};
  const CostBatch<T>& cost = problem.cost;

  // The costs, in blocks of rows; the first block with a fault tells.
  const Index block_rows = std::clamp<Index>(cpu::block_entries / cost.cols, 1, cost.rows);
  const Index blocks_each = (cost.rows + block_rows - 1) / block_rows;
  const Index blocks = cost.data == nullptr ? 0 : cost.batch * blocks_each;
  const Index group = std::max<Index>(1, cpu::block_entries / (block_rows * cost.cols));
  const Index groups = (blocks + group - 1) / group;
  std::vector<char> finite;
  try {
    finite.assign(static_cast<std::size_t>(groups), 1);
  } catch (const std::bad_alloc&) {
    return Outcome::out_of_memory;
  }
  const auto block_rows_of = [&](Index block) {
    const Index first = block % blocks_each * block_rows;
    return std::pair<Index, Index>(first, std::min(first + block_rows, cost.rows));
  };
  const bool whole = cpu::parallel_for(groups, exec, [&](Index at) {
    bool all = true;
    for (Index block = at * group; all && block < std::min(blocks, (at + 1) * group); ++block) {
      const MatrixView<T> matrix = cost[block / blocks_each];
      const auto [first, last] = block_rows_of(block);
      if (matrix.row_stride == matrix.cols) {
        all = cpu::all_finite(matrix.row(first), (last - first) * matrix.cols);
      } else {
        for (Index i = first; all && i < last; ++i)
          all = cpu::all_finite(matrix.row(i), matrix.cols);
      }
    }
    finite[static_cast<std::size_t>(at)] = all;
  });
  if (!whole) return Outcome::interrupted;
  for (Index at = 0; at < groups; ++at) {
    if (finite[static_cast<std::size_t>(at)]) continue;
    for (Index block = at * group; block < std::min(blocks, (at + 1) * group); ++block) {
      const auto [first, last] = block_rows_of(block);
      for (Index i = first; i < last; ++i) {
        const T* row = cost[block / blocks_each].row(i);
        for (Index j = 0; j < cost.cols; ++j) {
          if (std::isfinite(row[j])) continue;
          finding.fault = Fault::cost_not_finite;
          finding.problem = block / blocks_each;
          finding.row = i;
          finding.col = j;
          finding.value = static_cast<double>(row[j]);
          return Outcome::done;
        }
      }
    }
  }

  for (Index k = 0; k < problem.batch; ++k) {
    if (problem.strength != nullptr &&
        !(problem.strength[k] > 0 && std::isfinite(problem.strength[k]))) {
      finding.fault = Fault::strength_not_positive;
      finding.problem = k;
      finding.value = problem.strength[k];
      return Outcome::done;
    }
    if (k > 0 && problem.a.batch_stride == 0 && problem.b.batch_stride == 0) continue;
    double mass_a, mass_b;
    cpu::check_weights(problem.a[k], cost.rows, k, Fault::a_not_finite, Fault::a_negative, mass_a,
                       finding);
    if (finding.fault != Fault::none) return Outcome::done;
    cpu::check_weights(problem.b[k], cost.cols, k, Fault::b_not_finite, Fault::b_negative, mass_b,
                       finding);
    if (finding.fault != Fault::none) return Outcome::done;
    const bool overflow = !std::isfinite(mass_a) || !std::isfinite(mass_b);
    if (overflow || std::abs(mass_a - mass_b) > mass_tolerance * std::max(mass_a, mass_b)) {
      finding.fault = overflow ? Fault::mass_overflow : Fault::mass_differs;
      finding.problem = k;
      finding.value = mass_a;
      finding.other = mass_b;
      return Outcome::done;
    }
  }
  return Outcome::done;
}

template Outcome check(const CheckProblem<float>&, Finding&, const Cpu&) noexcept;
template Outcome check(const CheckProblem<double>&, Finding&, const Cpu&) noexcept;

}  // namespace kantorch
