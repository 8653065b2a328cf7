// The proof of an answer whose costs are small beside its potentials: reduced costs to 32 digits.
#pragma once

#include <vector>

#include "common/wide.hpp"
#include "core/exec.hpp"
#include "cpu/exact/instance.hpp"
#include "cpu/exact/support.hpp"

namespace kantorch::cpu::network {

// Iterative refinement of linear programs (Gleixner, Steffy, Wolter, 2016): the reduced costs of an
// answer are costs that have the same optimal plans, and a scale of their own.
class Refinement {
 public:
  // Begins with the potentials of the support's columns.
  void start(const Support& support);

  // Potentials that are tight on the support's cells, and the reduced costs of all cells, in
  // working units, each rounded once. False if stopped; throws bad_alloc.
  template <class T>
  bool evaluate(const Instance<T>& instance, const Support& support, const Cpu& exec);

  // Whether no reduced cost is negative beyond the rounding of potentials.
  bool proved() const noexcept { return least_ >= -rounding_; }

  // How far the support can then be from optimal, for a mass of 1: not at all if every other cell's
  // reduced cost is clearly positive.
  double error() const noexcept { return alternatives_ ? 2 * rounding_ : 0; }

  // The least size of a cost, apart from 0, that an optimal plan might pay.
  double smallest() const noexcept { return smallest_; }

  // The reduced costs, those out of proportion to the least lowered: as the support pays 0, optimal
  // potentials for the others spread over (n + m) |least| at most.
  MatrixView<double> costs() noexcept;

  // The potentials of an answer to these costs, in the unit 2^exponent, are added.
  void add(const std::vector<double>& g, int exponent) noexcept;

  // The rounded potentials.
  template <class T>
  void round(const Instance<T>& instance, Support& support) const noexcept;

 private:
  std::vector<Wide> f_;
  std::vector<Wide> g_;
  std::vector<double> costs_;
  double least_ = 0;
  double smallest_ = 0;
  bool alternatives_ = false;
  double rounding_ = 0;
};

}  // namespace kantorch::cpu::network
