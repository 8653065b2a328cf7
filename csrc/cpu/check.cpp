#include "core/check.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

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

// The first bad cell of rows that hold one.
template <class T>
Finding bad_cost(const MatrixView<T>& cost, Index first, Index last) noexcept {
  Finding finding;
  for (Index i = first; i < last; ++i) {
    for (Index j = 0; j < cost.cols; ++j) {
      if (std::isfinite(cost.row(i)[j])) continue;
      finding.fault = Fault::cost_not_finite;
      finding.row = i;
      finding.col = j;
      finding.value = static_cast<double>(cost.row(i)[j]);
      return finding;
    }
  }
  return finding;
}

// The costs in blocks of rows, and those in groups of about as many entries.
struct Blocks {
  Index rows;   // of the cost
  Index size;   // rows of a block
  Index each;   // blocks of a cost
  Index count;  // blocks of the batch
  Index group;  // blocks of a group
  Index groups;

  template <class T>
  explicit Blocks(const CostBatch<T>& cost) noexcept
      : rows(cost.rows),
        size(std::clamp<Index>(block_entries / cost.cols, 1, cost.rows)),
        each((cost.rows + size - 1) / size),
        count(cost.data == nullptr ? 0 : (cost.batch_stride == 0 ? 1 : cost.batch) * each),
        group(std::max<Index>(1, block_entries / (size * cost.cols))),
        groups((count + group - 1) / group) {}

  Index problem(Index block) const noexcept { return block / each; }
  Index first(Index block) const noexcept { return block % each * size; }
  Index last(Index block) const noexcept { return std::min(first(block) + size, rows); }
  Index end(Index at) const noexcept { return std::min(count, (at + 1) * group); }
};

template <class T>
bool is_finite(const MatrixView<T>& cost, Index first, Index last) noexcept {
  if (cost.row_stride == cost.cols) return all_finite(cost.row(first), (last - first) * cost.cols);
  for (Index i = first; i < last; ++i) {
    if (!all_finite(cost.row(i), cost.cols)) return false;
  }
  return true;
}

// False if it was stopped.
template <class T>
bool check_costs(const CostBatch<T>& cost, Finding* findings, char* finite,
                 const Cpu& exec) noexcept {
  const Blocks blocks(cost);
  if (!parallel_for(blocks.groups, exec, [&](Index at) {
        bool all = true;
        for (Index block = at * blocks.group; all && block < blocks.end(at); ++block)
          all = is_finite(cost[blocks.problem(block)], blocks.first(block), blocks.last(block));
        finite[at] = all;
      }))
    return false;
  for (Index at = 0; at < blocks.groups; ++at) {
    if (finite[at]) continue;
    for (Index block = at * blocks.group; block < blocks.end(at); ++block) {
      const Index k = blocks.problem(block);
      if (findings[k].fault == Fault::none)
        findings[k] = bad_cost(cost[k], blocks.first(block), blocks.last(block));
    }
  }
  if (blocks.count > 0 && cost.batch_stride == 0) std::fill_n(findings, cost.batch, findings[0]);
  return true;
}

// The mass of some weights, or what is wrong with them.
template <class T>
double mass_of(const T* weights, Index size, Fault not_finite, Fault negative,
               Finding* finding) noexcept {
  double mass = 0;
  for (Index i = 0; i < size; ++i) {
    const double weight = static_cast<double>(weights[i]);
    mass += weight;
    if (weight >= 0 && weight <= std::numeric_limits<double>::max()) continue;
    finding->fault = std::isfinite(weight) ? negative : not_finite;
    finding->row = i;
    finding->value = weight;
    return mass;
  }
  return mass;
}

template <class T>
Finding check_weights(const T* a, Index n, const T* b, Index m) noexcept {
  Finding finding;
  const double mass_a = mass_of(a, n, Fault::a_not_finite, Fault::a_negative, &finding);
  if (finding.fault != Fault::none) return finding;
  const double mass_b = mass_of(b, m, Fault::b_not_finite, Fault::b_negative, &finding);
  if (finding.fault != Fault::none) return finding;
  const bool overflow = !std::isfinite(mass_a) || !std::isfinite(mass_b);
  if (overflow || std::abs(mass_a - mass_b) > mass_tolerance * std::max(mass_a, mass_b)) {
    finding.fault = overflow ? Fault::mass_overflow : Fault::mass_differs;
    finding.value = mass_a;
    finding.other = mass_b;
  }
  return finding;
}

}  // namespace
}  // namespace cpu

template <class T>
Index check_workspace(const CheckProblem<T>& problem, int) noexcept {
  return cpu::Blocks(problem.cost).groups;
}

template <class T>
Outcome check(const CheckProblem<T>& problem, Finding* findings, void* workspace,
              const Cpu& exec) noexcept {
  const CostBatch<T>& cost = problem.cost;
  std::fill_n(findings, cost.batch, Finding{});
  if (!cpu::check_costs(cost, findings, static_cast<char*>(workspace), exec))
    return Outcome::interrupted;
  const bool shared = problem.a.batch_stride == 0 && problem.b.batch_stride == 0;
  Finding of_weights;
  for (Index k = 0; k < cost.batch; ++k) {
    if (k == 0 || !shared)
      of_weights = cpu::check_weights(problem.a[k], cost.rows, problem.b[k], cost.cols);
    Finding& finding = findings[k];
    if (finding.fault != Fault::none) continue;
    finding = of_weights;
    if (problem.strength == nullptr) continue;
    const double strength = problem.strength[k];
    if (strength > 0 && std::isfinite(strength)) continue;
    finding = {};
    finding.fault = Fault::strength_not_positive;
    finding.value = strength;
  }
  return Outcome::done;
}

template Index check_workspace(const CheckProblem<float>&, int) noexcept;
template Index check_workspace(const CheckProblem<double>&, int) noexcept;
template Outcome check(const CheckProblem<float>&, Finding*, void*, const Cpu&) noexcept;
template Outcome check(const CheckProblem<double>&, Finding*, void*, const Cpu&) noexcept;

}  // namespace kantorch
