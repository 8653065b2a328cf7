// Newton's method on the concave dual <a, F> + <b, G> - sum P, for the end of slowly converging
// problems.
//
// Each iteration is a Newton step, bounded in its largest change of a potential, and then a plain
// iteration, which undoes what the bounded step did to single rows and columns and leaves the dual
// at the value <a, F> + <b, G> - 1.
#pragma once

#include "cpu/scaling/schur.hpp"

namespace kantorch::cpu {

template <class T>
class Newton {
 public:
  // `weights` as for Laplacian, of Schur<T>::size_for(n, m).
  Newton(Arena& arena, GibbsPasses<T>& passes, Index n, Index m, double* weights) noexcept;

  // What it takes to the end, about five steps of (smaller side)^2 (larger side) + ... flops, in
  // plain iterations.
  static double cost(Index n, Index m) noexcept;

  // Improves f and g, until the error is at most `target`, nothing improves, or `limit` iterations
  // are made. False if it was stopped. Leaves the best potentials; `made` counts the iterations.
  bool run(const double* a, const double* b, double* f, double* g, double target, Index limit,
           Index* made, bool* stalled) noexcept;

 private:
  // A plain iteration, then the sums of the plan, its error and the dual.
  bool settle(double* f, double* g, double* error, double* dual) noexcept;

  GibbsPasses<T>& passes_;
  Index n_;
  Index m_;
  Schur<T> schur_;
  double* row_;
  double* col_;
  double* x_;
  double* y_;
  double* u_;
  double* v_;
  double* f_from_;
  double* g_from_;
  double* f_best_;
  double* g_best_;
  const double* a_ = nullptr;
  const double* b_ = nullptr;
};

}  // namespace kantorch::cpu
