#include "cpu/exact/simplex.hpp"

#include <algorithm>
#include <cmath>

#include "cpu/exact/support.hpp"
#include "cpu/runtime/pool.hpp"

namespace kantorch::cpu::network {
namespace {

constexpr Index poll_pivots = 64;
constexpr Index parts = 8;  // of places that are scanned at once

// Potentials drift by a rounding error a pivot until they are recomputed. An entering arc's reduced
// cost must be below what this can have added up to, or a basis might come back.
struct Stage {
  Index fresh_pivots;   // between two recomputations
  double global_drift;  // relative to the largest potential
  double local_drift;   // relative to those of the arc
};
constexpr Stage screened{1 << 15, 0x1p-37, 0};

// Where costs of very different sizes meet, what is rounding to some is all to others: so here an
// arc is measured by its own potentials. Drift may then exceed it, and the number of pivots of a
// round and of rounds is limited.
constexpr Stage exact{1 << 7, 0, local_rounding};
constexpr Index round_pivots = 20;  // per node
constexpr int most_rounds = 64;

double largest_potential(const Tree& tree) noexcept {
  double largest = 1;
  for (const double pi : tree.pi) largest = std::max(largest, std::abs(pi));
  return largest;
}

template <class T>
class Simplex {
 public:
  Simplex(const Instance<T>& instance, const Screen& screen, const Shortlist& shortlist, Tree& tree,
          Index max_iter, const Cpu& exec)
      : instance_(instance),
        screen_(screen),
        shortlist_(shortlist),
        tree_(tree),
        max_iter_(max_iter),
        exec_(exec),
        kernels_(reduced_cost_table()),
        n_(instance.n()),
        m_(instance.m()),
        segments_((m_ + segment - 1) / segment),
        g_(static_cast<std::size_t>(m_)),
        screen_g_(static_cast<std::size_t>(screen.stride), 0.0f),
        buffer_(m_ == instance.cost.cols ? 0 : static_cast<std::size_t>(m_)) {}

  Stop run() {
    root_potential_ = -screen_.g[tree_.root() - n_];
    recompute();
    const auto refresh = [this] { refresh_screen(); };
    Stop stop = Stop::optimal;
    if (!shortlist_.empty())
      stop = price(screened, n_, [this](Index i, double) { return scan_shortlist(i); }, refresh);
    if (stop == Stop::optimal) {
      const auto scan = [this](Index at, double least) { return scan_screen(at, least); };
      stop = price(screened, n_ * segments_, scan, refresh, block_of_places());
    }
    root_potential_ = 0;  // not to round at the level of more than the costs in the tree
    for (int round = 0; stop == Stop::optimal; ++round) {
      recompute();
      for (Index j = 0; j < m_; ++j) g_[j] = -tree_.pi[n_ + j];
      const Verdict verdict = verify(instance_, tree_.pi.data(), g_.data(), exec_, suspects_);
      if (verdict == Verdict::interrupted) return Stop::interrupted;
      if (verdict == Verdict::feasible) return Stop::optimal;
      if (round == most_rounds)
        return verdict == Verdict::nearly_feasible ? Stop::optimal : Stop::precision_limit;
      const auto refresh_g = [this] { refresh_exact(); };
      if (round == 0) {  // mostly enough; the next verification sees all rows
        const auto scan = [this](Index at, double) {
          return scan_exact(suspects_[at / segments_] * segments_ + at % segments_);
        };
        stop = price(exact, static_cast<Index>(suspects_.size()) * segments_, scan, refresh_g);
      } else {
        const auto scan = [this](Index at, double) { return scan_exact(at); };
        stop = price(exact, n_ * segments_, scan, refresh_g);
      }
    }
    return stop;
  }

  Index pivots = 0;

 private:
  struct Candidate {
    Node row;
    Node col;
    double cost;
  };
  static constexpr Index list_size = 48;  // at least, where there are so many

  // The best arc of a row or, of a long row, of a segment: were a few long rows scanned whole, a
  // scan of the matrix would find no more arcs than it has rows.
  struct Found {
    double value;
    Node row;
    Node col;
  };
  static constexpr Index segment = 4096;  // a multiple of the screen's padding

  // Places of a screen that are scanned at once, by several threads: as many whatever their number.
  // Potentials are the same in a block, so that it shall not be a large part of a small problem.
  Index block_of_places() const noexcept {
    constexpr Index entries = 1 << 17, most = 256;
    const Index length = std::min(segment, screen_.stride);
    return n_ * screen_.stride < 16 * entries ? 1 : std::clamp<Index>(entries / length, 1, most);
  }

  void recompute() noexcept {
    tree_.recompute(instance_, root_potential_);
    largest_ = largest_potential(tree_);
    stale_ = 0;
  }

  void refresh_screen() noexcept {
    for (Index j = 0; j < m_; ++j)
      screen_g_[j] = static_cast<float>(-tree_.pi[n_ + j] + tree_.shift - screen_.g[j]);
  }
  void refresh_exact() noexcept {
    for (Index j = 0; j < m_; ++j) g_[j] = lowered(-tree_.pi[n_ + j]);
  }

  // Row i's potential in the screen.
  double screen_f(Index i) const noexcept { return tree_.pi[i] - tree_.shift - screen_.f[i]; }

  // The least reduced cost of a segment, nearly; infinite if not below `least`.
  Found scan_screen(Index at, double least) const noexcept {
    const Index i = at / segments_, first = at % segments_ * segment;
    const double f = screen_f(i);
    const Smallest best = kernels_.screen_smallest(screen_.row(i) + first, screen_g_.data() + first,
                                                   std::min(segment, screen_.stride - first),
                                                   static_cast<float>(f + least));
    return {best.value - f, static_cast<Node>(i), static_cast<Node>(first + best.index)};
  }
  Found scan_shortlist(Index i) const noexcept {
    const Node* columns = &shortlist_.columns[i * shortlist_size];
    const Smallest best = kernels_.shortlist_smallest(&shortlist_.values[i * shortlist_size],
                                                      columns, screen_g_.data());
    return {best.value - screen_f(i), static_cast<Node>(i), columns[best.index]};
  }
  Found scan_exact(Index at) noexcept {
    const Index i = at / segments_, first = at % segments_ * segment;
    const Smallest best = kernels_.rows(T{}).smallest(
        instance_.row(i, buffer_.data()) + first, instance_.scale, instance_.base,
        g_.data() + first, std::min(segment, m_ - first));
    return {best.value - lowered(tree_.pi[i]), static_cast<Node>(i),
            static_cast<Node>(first + best.index)};
  }

  double reduced(const Candidate& x) const noexcept {
    return x.cost - tree_.pi[x.row] + tree_.pi[n_ + x.col];
  }

  double magnitude(const Candidate& x) const noexcept {
    return std::abs(tree_.pi[x.row]) + std::abs(tree_.pi[n_ + x.col]);
  }

  // Pivots on the arcs that `scan` finds in any of `places` until it finds none: in turns, a list
  // of the best arcs of several places, `at_once` by `at_once`, and pivots on the best of the list
  // until none of it has a negative reduced cost.
  template <class Scan, class Refresh>
  Stop price(const Stage& stage, Index places, const Scan& scan, const Refresh& refresh,
             Index at_once = 1) {
    std::vector<Found> found(static_cast<std::size_t>(at_once > 1 ? at_once : 0));
    std::vector<Candidate> list(static_cast<std::size_t>(list_size - 1 + at_once));
    Index place = 0;
    Index idle = 0;  // places seen since the last pivot
    Index polled = pivots;
    const Index enough = pivots + round_pivots * (n_ + m_);
    while (idle < places) {
      if (stale_ >= stage.fresh_pivots) recompute();
      if (stage.local_drift > 0 && pivots > enough) break;
      const double least = -stage.global_drift * largest_;
      refresh();
      Index listed = 0;
      const auto keep = [&](const Found& best) {
        if (!(best.value < least)) return;
        list[listed++] = {best.row, best.col, 0};
        instance_.prefetch(best.row, best.col);
      };
      for (Index seen = 0; seen < places && listed < list_size; seen += at_once) {
        if (at_once == 1) {
          keep(scan(place, least));
        } else {
          parallel_for(parts, exec_, [&](Index part) {
            for (Index k = part * at_once / parts; k < (part + 1) * at_once / parts; ++k)
              found[k] = scan(place + k - (place + k < places ? 0 : places), least);
          });
          for (const Found& best : found) keep(best);
        }
        place += at_once - (place + at_once < places ? 0 : places);
        idle += at_once;
        if ((at_once > 1 || seen % 64 == 63) && exec_.stopped()) return Stop::interrupted;
      }
      for (Index k = 0; k < listed; ++k) list[k].cost = instance_(list[k].row, list[k].col);
      while (listed > 0) {
        double best = 0;
        Index chosen = -1;
        Index kept = 0;
        for (Index k = 0; k < listed; ++k) {
          const double value = reduced(list[k]);
          if (value >= least - stage.local_drift * magnitude(list[k])) continue;
          list[kept] = list[k];
          if (value < best) {
            best = value;
            chosen = kept;
          }
          ++kept;
        }
        listed = kept;
        if (chosen < 0) break;
        if (pivots == max_iter_) return Stop::max_iterations;
        tree_.pivot({list[chosen].row, list[chosen].col}, best);
        ++pivots;
        ++stale_;
        idle = 0;
        list[chosen] = list[--listed];
      }
      if (pivots - polled >= poll_pivots) {
        if (exec_.stopped()) return Stop::interrupted;
        polled = pivots;
      }
    }
    return Stop::optimal;
  }

  const Instance<T>& instance_;
  const Screen& screen_;
  const Shortlist& shortlist_;
  Tree& tree_;
  const Index max_iter_;
  const Cpu& exec_;
  const ReducedCostTable& kernels_;
  const Index n_;
  const Index m_;
  const Index segments_;
  std::vector<double> g_;
  std::vector<float> screen_g_;
  std::vector<T> buffer_;
  std::vector<Node> suspects_;
  double largest_ = 1;
  double root_potential_ = 0;
  Index stale_ = 0;
};

}  // namespace

template <class T>
Stop solve(const Instance<T>& instance, const Screen& screen, const Shortlist& shortlist,
           Tree& tree, Index max_iter, const Cpu& exec, Index& pivots) {
  Simplex<T> simplex(instance, screen, shortlist, tree, max_iter, exec);
  const Stop stop = simplex.run();
  pivots = simplex.pivots;
  return stop;
}

template Stop solve<float>(const Instance<float>&, const Screen&, const Shortlist&, Tree&, Index,
                           const Cpu&, Index&);
template Stop solve<double>(const Instance<double>&, const Screen&, const Shortlist&, Tree&, Index,
                            const Cpu&, Index&);

}  // namespace kantorch::cpu::network
