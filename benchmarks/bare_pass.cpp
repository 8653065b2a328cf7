// The least that an iteration on a stored matrix can cost: one pass of fused multiply-adds, a dot
// product with every row and that multiple of the row added to the column sums.
//
// Compiled by bare_pass.py for the machine it runs on. It runs on the threads of torch's OpenMP
// runtime where that has GCC's entry points, because those wait actively after torch's operations
// and would take the cores from any others.
#include <dlfcn.h>

#include <atomic>
#include <cstdlib>
#include <thread>
#include <vector>

namespace {

constexpr int group = 8;  // rows that share the loads of w and col

template <int R>
void rows(const float* k, long n, const float* w, float* col) {
  float x[R];
  for (int r = 0; r < R; ++r) {
    float sum = 0;
#pragma GCC ivdep
    for (long j = 0; j < n; ++j) sum += k[r * n + j] * w[j];
    x[r] = sum > 0 ? 1 / sum : 0;
  }
#pragma GCC ivdep
  for (long j = 0; j < n; ++j) {
    float total = col[j];
    for (int r = 0; r < R; ++r) total += k[r * n + j] * x[r];
    col[j] = total;
  }
}

void pass(const float* k, long first, long last, long n, const float* w, float* col) {
  for (long j = 0; j < n; ++j) col[j] = 0;
  long i = first;
  for (; i + group <= last; i += group) rows<group>(k + i * n, n, w, col);
  for (; i < last; ++i) rows<1>(k + i * n, n, w, col);
}

// work(t) for t < threads, on a thread each. Ends the process where OpenMP grants fewer.
template <class Work>
void on_threads(long threads, const Work& work) {
  using Parallel = void (*)(void (*)(void*), void*, unsigned, unsigned);
  using Size = int (*)();
  const auto parallel = reinterpret_cast<Parallel>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
  const auto size = reinterpret_cast<Size>(dlsym(RTLD_DEFAULT, "omp_get_num_threads"));
  if (parallel != nullptr && size != nullptr) {
    struct Team {
      const Work& work;
      const long threads;
      const Size size;
      std::atomic<long> next{0};
    } team{work, threads, size};
    const auto join = [](void* data) {
      Team& self = *static_cast<Team*>(data);
      if (self.size() != self.threads) std::abort();
      self.work(self.next++);
    };
    parallel(join, &team, static_cast<unsigned>(threads), 0);
    return;
  }
  std::vector<std::thread> others;
  for (long t = 1; t < threads; ++t) others.emplace_back(work, t);
  work(0);
  for (auto& other : others) other.join();
}

}  // namespace

// `passes` over each of the (batch, n, n) matrices; `w` and `col` are (batch or threads, n). A
// batch is shared out by problems, one problem by rows.
extern "C" void bare_passes(const float* k, long batch, long n, long passes, long threads, float* w,
                            float* col) {
  std::atomic<long> arrived{0};
  const auto work = [&](long t) {
    if (batch >= threads) {
      for (long p = t; p < batch; p += threads) {
        for (long s = 0; s < passes; ++s) {
          pass(k + p * n * n, 0, n, n, w + p * n, col + p * n);
          for (long j = 0; j < n; ++j) w[p * n + j] = 1 / (col[p * n + j] + 1);
        }
      }
      return;
    }
    for (long s = 0; s < passes; ++s) {
      pass(k, n * t / threads, n * (t + 1) / threads, n, w, col + t * n);
      ++arrived;
      while (arrived.load() < threads * (s + 1)) {
      }
    }
  };
  on_threads(threads, work);
}
