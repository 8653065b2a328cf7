// An iteration of Sinkhorn by one way through the cost, for problems that do not fit on chip.
//
// Sums are those of the plan's entries at the potentials as they are. Where they leave the range of exponentials, as they
// may at first, the potential is made as in GibbsPasses.
#pragma once

#include "cuda/scaling/any_rows.hpp"
#include "cuda/scaling/gibbs_passes.hpp"
#include "cuda/scaling/held_rows.hpp"
#include "cuda/scaling/streamed.hpp"

namespace kantorch::cuda {

// Chunks of this block: rows.update(first row, last row, their sums of columns).
template <class Rows, class Passes, class Cost>
KANTORCH_DEVICE void update_chunks(Rows& rows, const Passes& passes, const Cost& at,
                                   const StreamedScratch& scratch) {
  const Index n = passes.n, height = chunk_rows(n), chunks = chunk_count(n);
  for (Index chunk = passes.team.place(); chunk < chunks; chunk += passes.team.width()) {
    const Index first = chunk * height, last = first + height < n ? first + height : n;
    rows.update(at, first, last, scratch.parts + chunk * passes.m);
  }
}

// False, and nothing done, if rows cannot be held.
template <class Held, class Passes, class Cost>
KANTORCH_DEVICE bool update_held(Passes& passes, const Cost& at, const StreamedScratch& scratch,
                                 double omega) {
  Held rows(passes, omega, scratch);
  if (!rows.start()) return false;
  update_chunks(rows, passes, at, scratch);
  return true;
}

// Of all rows, and the chunks' sums of columns after it. As few warps take a row as can hold it.
template <class T, class Passes, class Cost>
KANTORCH_DEVICE void update_rows(Passes& passes, const Cost& at, const StreamedScratch& scratch,
                                 double omega) {
  using ByOne = HeldRows<Passes, T, 1>;
  using BySome = HeldRows<Passes, T, streamed_warps / 2>;
  using ByAll = HeldRows<Passes, T, streamed_warps>;
  const Index m = passes.m;
  bool done = false;
  if (m <= ByOne::most_columns) {
    done = update_held<ByOne>(passes, at, scratch, omega);
  } else if (m <= BySome::most_columns) {
    done = update_held<BySome>(passes, at, scratch, omega);
  } else if (m <= ByAll::most_columns) {
    done = update_held<ByAll>(passes, at, scratch, omega);
  }
  if (done) return;
  AnyRows<Passes, T> rows(passes, omega);
  update_chunks(rows, passes, at, scratch);
}

template <class Team, class T>
class StreamedIteration {
 public:
  using Passes = GibbsPasses<Team, T>;

  KANTORCH_DEVICE StreamedIteration(Passes& passes, const StreamedScratch& scratch)
      : passes_(passes), scratch_(scratch) {}

  // Before the first iteration, once the weights are there.
  KANTORCH_DEVICE void start() {
    Team& team = passes_.team;
    for (Index j = team.rank(); j < passes_.m; j += team.size())
      scratch_.log_b[j] = passes_.b[j] > 0 ? log(passes_.b[j]) : 0;
    team.sync();
  }

  // update_rows and update_columns, but for columns without mass; `error` is that before the iteration, as there.
  KANTORCH_DEVICE void operator()(double omega, double* error) {
    if (passes_.cost.is_stored()) {
      update_rows<T>(passes_, passes_.cost.matrix(), scratch_, omega);
    } else {
      update_rows<T>(passes_, passes_.cost.distances(), scratch_, omega);
    }
    Team& team = passes_.team;
    team.sync();
    const Index chunks = chunk_count(passes_.n), m = passes_.m;
    for (Index j = team.rank(); j < m; j += team.size()) {
      const double weight = passes_.b[j];
      if (!(weight > 0)) continue;
      double sum = 0;
      for (Index chunk = 0; chunk < chunks; ++chunk) sum += scratch_.parts[chunk * m + j];
      sum /= weight;
      const double before = passes_.g[j];
      const double plain =
          is_in_exponential_range(sum) ? before - log(sum) : passes_.column_potential(j);
      passes_.update(weight, passes_.g[j], plain, omega);
    }
    team.sync();
    *error = passes_.take_error();
  }

  // What iterations leave out, as nothing depends on it.
  KANTORCH_DEVICE void finish() {
    Team& team = passes_.team;
    for (Index j = team.rank(); j < passes_.m; j += team.size())
      if (!(passes_.b[j] > 0)) passes_.g[j] = clamp(passes_.column_potential(j));
    team.sync();
  }

 private:
  Passes& passes_;
  const StreamedScratch scratch_;
};

}  // namespace kantorch::cuda
