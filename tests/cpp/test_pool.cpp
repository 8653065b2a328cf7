#include <doctest/doctest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "cpu/pool.hpp"

using kantorch::Control;
using kantorch::Index;
using kantorch::cpu::parallel_for;
using kantorch::cpu::Session;

TEST_CASE("every chunk runs exactly once, whatever the number of threads") {
  for (const int threads : {1, 2, 3, 8}) {
    const Control control{threads};
    const Session session(control);
    for (int repeat = 0; repeat < 2000; ++repeat) {
      std::vector<std::atomic<int>> runs(static_cast<std::size_t>(repeat % 37));
      CHECK(parallel_for(static_cast<Index>(runs.size()), control,
                         [&](Index i) { ++runs[static_cast<std::size_t>(i)]; }));
      for (const auto& count : runs) REQUIRE(count == 1);
    }
  }
}

TEST_CASE("loops of several callers at once all finish") {
  std::vector<std::thread> callers;
  std::atomic<Index> total{0};
  for (int caller = 0; caller < 8; ++caller) {
    callers.emplace_back([&] {
      const Control control{4};
      for (int repeat = 0; repeat < 500; ++repeat)
        parallel_for(16, control, [&](Index) { ++total; });
    });
  }
  for (auto& caller : callers) caller.join();
  CHECK(total == 8 * 500 * 16);
}

TEST_CASE("a stop ends the loop and the next loop is whole") {
  std::atomic<int> asked{0};
  const Control stopping{
      2, [](void* context) noexcept { return ++*static_cast<std::atomic<int>*>(context) > 10; },
      &asked};
  std::atomic<int> ran{0};
  CHECK_FALSE(parallel_for(1000, stopping, [&](Index) { ++ran; }));
  CHECK(ran < 1000);
  ran = 0;
  CHECK(parallel_for(1000, Control{2}, [&](Index) { ++ran; }));
  CHECK(ran == 1000);
}
