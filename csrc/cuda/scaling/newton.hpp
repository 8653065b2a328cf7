// Newton's method on the concave dual <a, F> + <b, G> - sum P, for the end of slowly converging problems: as on the CPU
// (cpu/scaling/newton.hpp), a step that is bounded in its largest change of a potential, and then a plain iteration.
#pragma once

#include "cuda/scaling/problem.hpp"
#include "cuda/scaling/schur.hpp"

namespace kantorch::cuda {

template <class Team, class T>
class Newton {
 public:
  using Passes = GibbsPasses<Team, T>;

  // Of the memory of one.
  static KANTORCH_BOTH constexpr Index doubles(Index n, Index m) {
    return 5 * (n + m) + Schur<Team, T>::doubles(n, m);
  }

  KANTORCH_DEVICE Newton(Passes& passes, double* memory)
      : passes_(passes),
        team_(passes.team),
        rows_(memory, passes.n),
        cols_(memory + 5 * passes.n, passes.m),
        schur_(passes, rows_.sum, cols_.sum, memory + 5 * (passes.n + passes.m)) {}

  // Improves F and G of the passes, until the error is at most `target`, nothing improves, or `limit` iterations are made.
  // Leaves the best potentials, and returns the number of iterations.
  KANTORCH_DEVICE Index run(double target, Index limit, bool* stalled) {
    centre();
    double best = infinity, size = first_step, step = 0, length = 0, dual_from = -infinity,
           noise = 0;
    Index made = 0, trials = 0, idle = 0;
    bool bounded = false;
    *stalled = false;
    // Each turn looks at a point; there is one loop for the first one, for steps and for shortened steps, because what it
    // calls is compiled into it.
    for (;;) {
      double error, dual;
      settle(&error, &dual);
      if (!(dual >= dual_from - noise || step == 0)) {
        // Where the direction is useless, the plain iteration is not.
        step = step * length < shortest_step ? 0 : step / 4;
        ++trials;
        move(step);
        continue;
      }
      if (best < infinity) {  // not the first point
        ++made;
        if (trials > 0) {
          size = fmax(first_step, step * length);
        } else if (bounded) {
          size *= 2;
        }
        idle = error < 0.9 * best || dual > dual_from + 10 * noise ? 0 : idle + 1;
        *stalled = idle >= patience;
      }
      if (error < best) {
        best = error;
        keep(rows_.best, cols_.best);
      }
      if (!(best > target) || made >= limit || *stalled) break;
      // Where the potentials' rounding errors alone change the plan by orders of magnitude, there is nothing to improve.
      *stalled = fmax(largest(passes_, passes_.f, passes_.a, passes_.n),
                      largest(passes_, passes_.g, passes_.b, passes_.m)) > 1e16;
      if (*stalled) break;
      keep(rows_.from, cols_.from);
      schur_.factor(ground, 0);
      schur_.solve(rows_.rest, cols_.rest, rows_.step, cols_.step);
      length = fmax(largest(passes_, rows_.step, passes_.a, passes_.n),
                    largest(passes_, cols_.step, passes_.b, passes_.m));
      step = fmin(1.0, size / length);
      if (!(step > 0)) step = 0;
      bounded = step < 1;
      trials = 0;
      dual_from = dual;
      noise = rounding * dual_size() + static_cast<double>(std::numeric_limits<T>::epsilon());
      move(step);
    }
    for (Index i = team_.rank(); i < passes_.n; i += team_.size()) passes_.f[i] = rows_.best[i];
    for (Index j = team_.rank(); j < passes_.m; j += team_.size()) passes_.g[j] = cols_.best[j];
    team_.sync();
    return made;
  }

 private:
  // A bound on the change of a potential in units of eps, as long as no step failed.
  static constexpr double first_step = 8, shortest_step = 1e-3;
  static constexpr Index patience = 8;  // iterations without improvement
  // Keeps parts that exchange less than rounding errors from drifting; the dual is known to a rounding error of its terms,
  // and of the exponentials.
  static constexpr double ground = 1e-14, rounding = 1e-14;

  // What belongs to the rows, or to the columns.
  struct Side {
    KANTORCH_DEVICE Side(double* memory, Index size)
        : sum(memory), rest(sum + size), step(rest + size), from(step + size), best(from + size) {}

    double* sum;   // of the plan
    double* rest;  // what the weights are more
    double* step;
    double* from;  // potentials
    double* best;
  };

  // A constant that is common to F and -G costs digits and means nothing. The potentials of points without mass may be of
  // any size.
  KANTORCH_DEVICE void centre() {
    double shift = 0, points = 0;
    for (Index i = team_.rank(); i < passes_.n; i += team_.size()) {
      if (!(passes_.a[i] > 0)) continue;
      shift += passes_.f[i];
      ++points;
    }
    for (Index j = team_.rank(); j < passes_.m; j += team_.size()) {
      if (!(passes_.b[j] > 0)) continue;
      shift -= passes_.g[j];
      ++points;
    }
    shift = passes_.reduce(shift, Sum{});
    shift /= passes_.reduce(points, Sum{});
    for (Index i = team_.rank(); i < passes_.n; i += team_.size()) passes_.f[i] -= shift;
    for (Index j = team_.rank(); j < passes_.m; j += team_.size()) passes_.g[j] += shift;
    team_.sync();
  }

  // A plain iteration, then the sums of the plan, its error and the dual.
  KANTORCH_DEVICE void settle(double* error, double* dual) {
    double before;
    passes_.update_rows();
    passes_.update_columns(1, &before);
    passes_.measure(rows_.sum, cols_.sum);
    team_.sync();
    double off = 0, gain = 0;
    for (Index i = team_.rank(); i < passes_.n; i += team_.size()) {
      rows_.rest[i] = passes_.a[i] - rows_.sum[i];
      off += fabs(rows_.rest[i]);
      if (passes_.a[i] > 0) gain += passes_.a[i] * passes_.f[i];
    }
    for (Index j = team_.rank(); j < passes_.m; j += team_.size()) {
      cols_.rest[j] = passes_.b[j] - cols_.sum[j];
      off += fabs(cols_.rest[j]);
      if (passes_.b[j] > 0) gain += passes_.b[j] * passes_.g[j];
    }
    *error = passes_.reduce(off, Sum{});
    *dual = passes_.reduce(gain, Sum{});
  }

  KANTORCH_DEVICE double dual_size() {
    double size = 0;
    for (Index i = team_.rank(); i < passes_.n; i += team_.size())
      if (passes_.a[i] > 0) size += passes_.a[i] * fabs(passes_.f[i]);
    for (Index j = team_.rank(); j < passes_.m; j += team_.size())
      if (passes_.b[j] > 0) size += passes_.b[j] * fabs(passes_.g[j]);
    return passes_.reduce(size, Sum{});
  }

  KANTORCH_DEVICE void keep(double* f, double* g) {
    for (Index i = team_.rank(); i < passes_.n; i += team_.size()) f[i] = passes_.f[i];
    for (Index j = team_.rank(); j < passes_.m; j += team_.size()) g[j] = passes_.g[j];
  }

  KANTORCH_DEVICE void move(double step) {
    team_.sync();
    for (Index i = team_.rank(); i < passes_.n; i += team_.size())
      passes_.f[i] = rows_.from[i] + step * rows_.step[i];
    for (Index j = team_.rank(); j < passes_.m; j += team_.size())
      passes_.g[j] = cols_.from[j] + step * cols_.step[j];
    team_.sync();
  }

  Passes& passes_;
  Team& team_;
  Side rows_;
  Side cols_;
  Schur<Team, T> schur_;
};

}  // namespace kantorch::cuda
