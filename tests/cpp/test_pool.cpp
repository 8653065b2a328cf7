#include <doctest/doctest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "cpu/runtime/pool.hpp"

using kantorch::Cpu;
using kantorch::Index;
using kantorch::cpu::parallel_for;
using kantorch::cpu::Session;

TEST_CASE("every chunk runs exactly once, whatever the number of threads") {
  for (const int threads : {1, 2, 3, 8}) {
    const Cpu exec{threads};
    const Session session(exec);
    for (int repeat = 0; repeat < 2000; ++repeat) {
      std::vector<std::atomic<int>> runs(static_cast<std::size_t>(repeat % 37));
      CHECK(parallel_for(static_cast<Index>(runs.size()), exec,
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
      const Cpu exec{4};
      for (int repeat = 0; repeat < 500; ++repeat) parallel_for(16, exec, [&](Index) { ++total; });
    });
  }
  for (auto& caller : callers) caller.join();
  CHECK(total == 8 * 500 * 16);
}

TEST_CASE("a stop ends the loop and the next loop is whole") {
  std::atomic<int> asked{0};
  const Cpu stopping{
      2, [](void* context) noexcept { return ++*static_cast<std::atomic<int>*>(context) > 10; },
      &asked};
  std::atomic<int> ran{0};
  CHECK_FALSE(parallel_for(1000, stopping, [&](Index) { ++ran; }));
  CHECK(ran < 1000);
  ran = 0;
  CHECK(parallel_for(1000, Cpu{2}, [&](Index) { ++ran; }));
  CHECK(ran == 1000);
}
