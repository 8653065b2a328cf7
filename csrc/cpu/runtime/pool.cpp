#include "cpu/runtime/pool.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>

#include "cpu/runtime/openmp.hpp"

#ifdef _WIN32
#include <process.h>
#else
#include <unistd.h>
#endif
#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace kantorch::cpu {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto spin_time = std::chrono::microseconds(100);

inline void relax() noexcept {
#if defined(__x86_64__) || defined(_M_X64)
  _mm_pause();
#else
  std::this_thread::yield();
#endif
}

int process_id() noexcept {
#ifdef _WIN32
  return _getpid();
#else
  return static_cast<int>(getpid());
#endif
}

// What this thread's sessions have.
struct Held {
  int sessions = 0;
  bool borrowed = false;  // the pool, until the last of them ends, and OpenMP's threads for it
  bool running = false;   // a job: whoever asks for a stop may run anything, solves too
};
thread_local Held held;

// One job runs at a time. A chunk is claimed by a compare-and-swap on `ticket`, whose upper half
// names the job and whose lower half counts the claims that are left, so a worker that comes late
// cannot claim a chunk of a job that is over; and while a claimed chunk is not done, the caller
// waits, so the job's fields stay valid for whoever holds a claim, and are read by nobody else. The
// caller waits for claimed chunks, not for threads: a worker that the system does not schedule costs
// nothing.
class Pool {
 public:
  static Pool& instance() {
    // After a fork the workers are gone and the locks in an unknown state: the child leaks the
    // parent's pool.
    static std::atomic<Pool*> current{nullptr};
    Pool* pool = current.load(std::memory_order_acquire);
    while (pool == nullptr || pool->process_ != process_id()) {
      Pool* fresh = new Pool;
      if (current.compare_exchange_strong(pool, fresh)) return *fresh;
      delete fresh;
    }
    return *pool;
  }

  // Inside a session of this thread, whose end gives back what is borrowed here.
  void run(Index chunks, void (*body)(void*, Index), void* context, const Cpu& exec) {
    std::unique_lock<std::mutex> only(busy_, std::defer_lock);
    // The workers have a job of another thread, or of this one.
    if (held.running || (!held.borrowed && !only.try_lock())) {
      for (Index chunk = 0; chunk < chunks && !exec.stopped(); ++chunk) body(context, chunk);
      return;
    }
    if (!lendable_) {
      grow(exec.threads - 1);
    } else if (!held.borrowed) {
      only.release();
      borrow(exec.threads);
    }
    held.running = true;
    body_ = body;
    context_ = context;
    exec_ = &exec;
    chunks_ = chunks;
    group_ = (chunks + max_claims - 1) / max_claims;
    claims_ = (chunks + group_ - 1) / group_;
    helpers_.store(exec.threads - 1, std::memory_order_relaxed);
    left_.store(claims_, std::memory_order_relaxed);
    const std::uint64_t job = (ticket_.load(std::memory_order_relaxed) >> 32) + 1;
    ticket_.store(job << 32 | static_cast<std::uint64_t>(claims_), std::memory_order_seq_cst);
    wake();
    work(job);
    for (Index spins = 0; left_.load(std::memory_order_acquire) > 0; ++spins) {
      relax();
      if (spins % 64 == 63)
        static_cast<void>(exec.stopped());  // lets the caller's stop reach the workers
      if (spins > 4096) std::this_thread::yield();
    }
    held.running = false;
  }

  // The end of this thread's last session.
  void give_back() noexcept {
    over_.store(true, std::memory_order_seq_cst);
    wake();
    openmp::finish();
    held.borrowed = false;
    busy_.unlock();
  }

  std::atomic<int> sessions{0};

 private:
  static constexpr Index max_claims = Index{1} << 31;

  // Claims and runs chunks of `job` until none is left.
  void work(std::uint64_t job) noexcept {
    for (;;) {
      std::uint64_t ticket = ticket_.load(std::memory_order_acquire);
      std::uint64_t unclaimed;
      do {
        unclaimed = ticket & 0xffffffffu;
        if (ticket >> 32 != job || unclaimed == 0) return;
      } while (!ticket_.compare_exchange_weak(ticket, ticket - 1, std::memory_order_acq_rel));
      const Index first = (claims_ - static_cast<Index>(unclaimed)) * group_;
      for (Index chunk = first; chunk < first + group_ && chunk < chunks_; ++chunk) {
        if (!exec_->stopped()) body_(context_, chunk);
      }
      left_.fetch_sub(1, std::memory_order_acq_rel);
    }
  }

  void wake() noexcept {
    if (sleepers_.load(std::memory_order_seq_cst) == 0) return;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
    }
    wake_.notify_all();
  }

  // OpenMP's threads become workers. `busy_` is locked, and stays so.
  void borrow(int threads) noexcept {
    // OpenMP ends the process where it gets no thread.
    const int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
    held.borrowed = true;
    over_.store(false, std::memory_order_relaxed);
    borrowed_.store(0, std::memory_order_relaxed);
    last_job_ = ticket_.load(std::memory_order_relaxed) >> 32;
    openmp::start(
        [](void* pool) {
          Pool& self = *static_cast<Pool*>(pool);
          self.serve_borrowed(self.borrowed_.fetch_add(1, std::memory_order_relaxed));
        },
        this, std::min(threads, cores));
  }

  void serve_borrowed(int index) noexcept {
    std::uint64_t seen = last_job_;
    while (!over_.load(std::memory_order_acquire)) {
      seen = await(seen, true);
      if (index < helpers_.load(std::memory_order_relaxed)) work(seen);
    }
  }

  void grow(int workers) noexcept {
    while (size_ < workers) {
      try {
        std::thread(&Pool::serve, this, size_).detach();
      } catch (const std::system_error&) {
        return;  // the system gives no more threads; the caller does their share
      }
      ++size_;
    }
  }

  void serve(int index) noexcept {
    std::uint64_t seen = 0;
    for (;;) {
      const std::uint64_t job = await(seen, false);
      seen = job;
      if (index < helpers_.load(std::memory_order_relaxed)) work(job);
    }
  }

  // The number of the first job after `seen`; of any job once it is over for `borrowed` threads.
  std::uint64_t await(std::uint64_t seen, bool borrowed) noexcept {
    const auto over = [&] { return borrowed && over_.load(std::memory_order_seq_cst); };
    const auto start = Clock::now();
    for (;;) {
      for (int spins = 0; spins < 64; ++spins) {
        const std::uint64_t job = ticket_.load(std::memory_order_acquire) >> 32;
        if (job != seen || over()) return job;
        relax();
      }
      if (sessions.load(std::memory_order_relaxed) == 0 || Clock::now() - start > spin_time) break;
    }
    std::unique_lock<std::mutex> lock(mutex_);
    sleepers_.fetch_add(1, std::memory_order_seq_cst);
    wake_.wait(lock,
               [&] { return ticket_.load(std::memory_order_seq_cst) >> 32 != seen || over(); });
    sleepers_.fetch_sub(1, std::memory_order_relaxed);
    return ticket_.load(std::memory_order_acquire) >> 32;
  }

  const int process_ = process_id();
  const bool lendable_ = openmp::available();
  std::mutex busy_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<int> sleepers_{0};
  int size_ = 0;

  // Borrowed threads. Where they can be had, the pool has none of its own.
  std::atomic<bool> over_{true};
  std::atomic<int> borrowed_{0};
  std::uint64_t last_job_ = 0;

  // The job.
  std::atomic<std::uint64_t> ticket_{0};
  std::atomic<Index> left_{0};
  std::atomic<int> helpers_{0};
  Index chunks_ = 0;
  Index group_ = 1;   // chunks of a claim
  Index claims_ = 0;  // of all chunks
  void (*body_)(void*, Index) = nullptr;
  void* context_ = nullptr;
  const Cpu* exec_ = nullptr;
};

}  // namespace

void pool::run(Index chunks, void (*body)(void*, Index), void* context, const Cpu& exec) noexcept {
  const Session session(exec);
  Pool::instance().run(chunks, body, context, exec);
}

Session::Session(const Cpu& exec) noexcept : counted_(exec.threads > 1) {
  if (!counted_) return;
  Pool::instance().sessions.fetch_add(1, std::memory_order_relaxed);
  ++held.sessions;
}

Session::~Session() {
  if (!counted_) return;
  Pool& pool = Pool::instance();
  pool.sessions.fetch_sub(1, std::memory_order_relaxed);
  if (--held.sessions == 0 && held.borrowed) pool.give_back();
}

}  // namespace kantorch::cpu
