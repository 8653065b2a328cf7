// Sinkhorn to a tolerance, on problems that the plain iteration would take for ever on too.
//
// From a cold start eps is lowered step by step to its value. Then over-relaxed iterations run as
// long as their observed contraction promises to be cheaper than Newton's method, which does the
// rest.
#pragma once

#include "cpu/scaling/bound.hpp"
#include "cpu/scaling/log_form.hpp"
#include "cpu/scaling/newton.hpp"
#include "cpu/scaling/result.hpp"
#include "cpu/sinkhorn/scaling_form.hpp"

namespace kantorch::cpu {

// Without a second-order method, over-relaxed iterations do it all.
//
// Form is ScalingForm<T> or LogForm<T>.
template <class T, class Form>
class SinkhornConvergence {
 public:
  // `weights` as for Laplacian, of Schur<T>::size_for(n, m), and n = m = 0 if Form has no use for
  // it.
  SinkhornConvergence(Arena& arena, GibbsPasses<T>& passes, Form& form, Index n, Index m,
                      double* weights) noexcept;

  // Starts from G (`warm`) or from nothing and writes the whole result of problem k. False if it
  // was stopped.
  bool solve(const Normalised& problem, double* f, double* g, bool warm, double tol, Index max_iter,
             Index k, const ScalingResult& result) noexcept;

 private:
  // Where the iterations start: where the caller says, or from eps lowered over the range of the costs, of those near the
  // smallest, as long as more and more of them have no plan, or of all.
  enum class Start { given, near, all };

  bool begin(Start start) noexcept;
  bool anneal(const CostRange& range) noexcept;
  bool promises(const CostRange& range, bool* promising) noexcept;
  bool relax(double target, bool refined, bool* promising) noexcept;
  bool settle_massless() noexcept;

  GibbsPasses<T>& passes_;
  Form& form_;
  Newton<T> newton_;
  const Normalised* problem_ = nullptr;
  const ScalingResult* result_ = nullptr;
  Index k_ = 0;
  double* f_ = nullptr;
  double* g_ = nullptr;
  Index made_ = 0;
  Index max_iter_ = 0;
  Start start_ = Start::given;
  double tried_ = -1;  // half the range of the costs that the last start looked at
};

}  // namespace kantorch::cpu
