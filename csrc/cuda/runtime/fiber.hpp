// A stack of its own that code can be run on in turns, announced to the sanitizers.
//
// This file and team_host.cpp are compiled without ThreadSanitizer's instrumentation, which would take the scheduler's
// own data, shared by all lanes without barriers, for races, and counts calls and returns by the stack.
#pragma once

#include <sys/mman.h>
#include <ucontext.h>

#include <cstddef>
#include <new>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef KANTORCH_TSAN_FIBERS
#include <sanitizer/tsan_interface.h>
#endif

namespace kantorch::cuda {

#ifdef KANTORCH_TSAN_FIBERS
constexpr bool races_are_watched = true;
// Order between lanes is what kernels make by barriers: what comes before `release` comes before what follows `acquire`.
inline void release(void* tag) { __tsan_release(tag); }
inline void acquire(void* tag) { __tsan_acquire(tag); }
#else
constexpr bool races_are_watched = false;
inline void release(void*) {}
inline void acquire(void*) {}
#endif

// Memory of the lanes of a block, straight from the system: ThreadSanitizer forgets what was done to memory that goes
// back there, so that its next user is not taken to race with its last one.
class Pages {
 public:
  explicit Pages(std::size_t bytes) : bytes_(bytes) {
    memory_ = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory_ == MAP_FAILED) throw std::bad_alloc();
  }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
  ~Pages() {
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(memory_, bytes_);
#endif
    munmap(memory_, bytes_);
  }

  char* get() const { return static_cast<char*>(memory_); }

 private:
  std::size_t bytes_;
  void* memory_;
};

// The fiber of the calling thread itself, or one with a stack and an entry that must not return.
class Fiber {
 public:
  static constexpr std::size_t stack_size = std::size_t{1} << 18;

  Fiber() {
#ifdef KANTORCH_TSAN_FIBERS
    watched_ = __tsan_get_current_fiber();
#endif
  }
  Fiber(void* stack, void (*entry)()) : stack_(stack), owns_(true) {
    getcontext(&context_);
    context_.uc_stack.ss_sp = stack;
    context_.uc_stack.ss_size = stack_size;
    context_.uc_link = nullptr;
    makecontext(&context_, entry, 0);
#ifdef KANTORCH_TSAN_FIBERS
    watched_ = __tsan_create_fiber(0);
#endif
  }
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;
  ~Fiber() {
#ifdef KANTORCH_TSAN_FIBERS
    if (owns_) __tsan_destroy_fiber(watched_);
#endif
  }

  // Leaves this fiber for another one; returns when somebody switches back.
  void switch_to(Fiber& other) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&fake_stack_, other.stack_, other.stack_size_);
#endif
#ifdef KANTORCH_TSAN_FIBERS
    __tsan_switch_to_fiber(other.watched_, __tsan_switch_to_fiber_no_sync);
#endif
    swapcontext(&context_, &other.context_);
    arrived();
  }

  // The first thing that an entry does; `from` is who switched to it.
  void arrived([[maybe_unused]] Fiber* from = nullptr) {
#if defined(__SANITIZE_ADDRESS__)
    const void* stack = nullptr;
    std::size_t size = 0;
    __sanitizer_finish_switch_fiber(fake_stack_, &stack, &size);
    // The thread's own stack becomes known when it is left for the first time.
    if (from != nullptr && from->stack_ == nullptr) {
      from->stack_ = const_cast<void*>(stack);
      from->stack_size_ = size;
    }
#endif
  }

 private:
  ucontext_t context_;
  void* stack_ = nullptr;
  std::size_t stack_size_ = stack_size;
  void* fake_stack_ = nullptr;
  [[maybe_unused]] void* watched_ = nullptr;
  bool owns_ = false;
};

}  // namespace kantorch::cuda
