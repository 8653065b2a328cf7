// Equal weights on both sides: the plan is an assignment, found by other algorithms.
#pragma once

#include <vector>

#include "core/exec.hpp"
#include "cpu/exact/instance.hpp"
#include "cpu/exact/start.hpp"

namespace kantorch::cpu::network {

enum class Assigned { yes, max_iterations, too_hard, interrupted };

// Auction with epsilon scaling on the float32 screen (Bertsekas, 1988), then in float64 the
// augmenting row reduction and the shortest augmenting paths of Jonker and Volgenant (1987), which
// make the assignment optimal whatever the auction has left.
template <class T>
class Assignment {
 public:
  // Whether the instance is an assignment problem, and not a trivial one.
  static bool fits(const Instance<T>& instance) noexcept;

  // From the screen's potentials, of which those of a `cold` start know little. After `limit`
  // augmentations, if that is not negative, the rows that are left take what columns there are. Too
  // hard means that the network simplex is expected to be faster. Throws bad_alloc.
  Assigned run(const Instance<T>& instance, const Screen& screen, bool cold, Index limit,
               const Cpu& exec);

  std::vector<Node> col_of;  // row -> column
  std::vector<double> f;     // optimal potentials
  std::vector<double> g;
  // Of the assignment that is built in float64: one for each row, unless a warm start has given it
  // its column already.
  Index augmentations = 0;

 private:
  Assigned auction(const Screen& screen, float eps, double scans_per_row, const Cpu& exec);
  Assigned reduce(const Instance<T>& instance, Index limit, const Cpu& exec);
  bool augment(const Instance<T>& instance, Node free, const Cpu& exec);
  void fill_up(const Instance<T>& instance) noexcept;

  void assign(Node row, Node col) noexcept {
    col_of[row] = col;
    row_of_[col] = row;
  }

  Index scans_ = 0;           // of rows: bids and steps of augmentations
  std::vector<Node> row_of_;  // column -> row, or -1
  std::vector<Node> start_;   // column -> row of a warm start, or -1
  std::vector<Node> free_;
  std::vector<float> prices_;
  std::vector<T> buffer_;

  // Of the search for a shortest path.
  std::vector<double> distance_;
  std::vector<double> open_g_;
  std::vector<std::int64_t> via_;
  std::vector<Node> done_;
  std::vector<double> done_distance_;
};

}  // namespace kantorch::cpu::network
