#include <doctest/doctest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "cpu/runtime/batch.hpp"

using namespace kantorch;

namespace {

// What a problem writes must not depend on its slot, and what a slot holds belongs to one problem
// at a time: both are plain memory.
struct Batch {
  Index size;
  Index rows;
  std::vector<double> result;
  std::vector<double> scratch;

  Batch(Index problems, Index slots, Index n)
      : size(problems),
        rows(n),
        result(static_cast<std::size_t>(problems)),
        scratch(static_cast<std::size_t>(slots * n)) {}

  bool solve(Index slots, const Cpu& exec) {
    return cpu::for_each_problem(size, slots, exec, [&](Index k, Index slot, const Cpu& inner) {
      double* const own = scratch.data() + slot * rows;
      if (!cpu::parallel_for(rows, inner,
                             [&](Index i) { own[i] = static_cast<double>(k * rows + i); }))
        return false;
      double sum = 0;
      for (Index i = 0; i < rows; ++i) sum += own[i];
      result[static_cast<std::size_t>(k)] = sum;
      return true;
    });
  }

  bool right() const {
    for (Index k = 0; k < size; ++k) {
      const double expected = static_cast<double>(rows * (2 * k * rows + rows - 1)) / 2;
      if (result[static_cast<std::size_t>(k)] != expected) return false;
    }
    return true;
  }
};

}  // namespace

TEST_CASE("every problem of a batch is solved in memory of its own, whoever solves it") {
  for (const int threads : {1, 2, 3, 8}) {
    for (const Index slots : {1, 2, 3, 8}) {
      for (int repeat = 0; repeat < 50; ++repeat) {
        Batch batch(23, slots, 11);
        REQUIRE(batch.solve(slots, Cpu{threads}));
        REQUIRE(batch.right());
      }
    }
  }
}

TEST_CASE("batches of several callers at once, in sessions and outside of them") {
  std::vector<std::thread> callers;
  std::atomic<int> right{0};
  for (int caller = 0; caller < 6; ++caller) {
    callers.emplace_back([&, caller] {
      const Cpu exec{caller % 2 == 0 ? 4 : 2};
      for (int repeat = 0; repeat < 100; ++repeat) {
        const Index slots = caller % 3 == 0 ? 1 : exec.threads;
        Batch batch(9, slots, 16);
        if (batch.solve(slots, exec) && batch.right()) ++right;
      }
    });
  }
  for (auto& caller : callers) caller.join();
  CHECK(right == 6 * 100);
}

TEST_CASE("a stop ends a batch, and the next is whole") {
  for (const Index slots : {1, 4}) {
    std::atomic<int> asked{0};
    const Cpu stopping{
        4, [](void* context) noexcept { return ++*static_cast<std::atomic<int>*>(context) > 50; },
        &asked};
    Batch batch(1000, slots, 8);
    CHECK_FALSE(batch.solve(slots, stopping));
    CHECK(batch.solve(slots, Cpu{4}));
    CHECK(batch.right());
  }
}

TEST_CASE("blocks of rows cover every row once") {
  for (const Index n : {1, 7, 511, 512, 513, 2048, 2049, 100003}) {
    for (const Index m : {1, 300, 40000}) {
      const cpu::RowBlocks blocks(n, m);
      CHECK(blocks.count <= cpu::RowBlocks::most);
      std::vector<int> seen(static_cast<std::size_t>(n));
      CHECK(cpu::parallel_for(blocks.count, Cpu{4}, [&](Index block) {
        blocks.each(block, Cpu{}, [&](Index i) { ++seen[static_cast<std::size_t>(i)]; });
      }));
      for (const int count : seen) REQUIRE(count == 1);
    }
  }
}
