#include "cpu/runtime/openmp.hpp"

#ifdef __linux__

#include <dlfcn.h>
#include <pthread.h>

#include <cstdio>
#include <cstring>

namespace kantorch::cpu::openmp {
namespace {

// Entry points for code compiled by GCC, which other runtimes have, too. Looked up by name: linking
// a runtime would bring a second one into the process.
struct Runtime {
  void (*start)(void (*)(void*), void*, unsigned) = nullptr;
  void (*end)() = nullptr;
  int (*pause)(int) = nullptr;

  Runtime() noexcept {
    find("GOMP_parallel_start", &start);
    find("GOMP_parallel_end", &end);
    find("omp_pause_resource_all", &pause);
  }

  template <class Function>
  static void find(const char* name, Function* function) noexcept {
    void* symbol = dlsym(RTLD_DEFAULT, name);
    static_assert(sizeof(symbol) == sizeof(*function), "dlsym returns functions as pointers");
    std::memcpy(function, &symbol, sizeof(symbol));
  }
};

const Runtime& runtime() noexcept {
  static const Runtime found;
  return found;
}

// The kernel's flags of this process tell whether it was forked and is still the same program.
bool forked() noexcept {
  constexpr unsigned forked_not_executed = 0x40;  // PF_FORKNOEXEC
  std::FILE* file = std::fopen("/proc/self/stat", "r");
  if (file == nullptr) return true;
  char line[1024];
  const std::size_t size = std::fread(line, 1, sizeof(line) - 1, file);
  std::fclose(file);
  line[size] = 0;
  // pid (name) state ppid pgrp session tty tpgid flags; the name may hold anything.
  const char* after_name = std::strrchr(line, ')');
  unsigned flags = 0;
  if (after_name == nullptr ||
      std::sscanf(after_name + 1, " %*c %*d %*d %*d %*d %*d %u", &flags) != 1)
    return true;
  return (flags & forked_not_executed) != 0;
}

}  // namespace

bool available() noexcept {
  return runtime().start != nullptr && runtime().end != nullptr && runtime().pause != nullptr &&
         !forked();
}

void start(void (*body)(void*), void* data, int threads) noexcept {
  // A forked child would wait for threads that it does not have, so there are none when it forks.
  static const int registered = pthread_atfork(
      [] {
        constexpr int soft = 1;  // omp_pause_soft
        runtime().pause(soft);
      },
      nullptr, nullptr);
  static_cast<void>(registered);
  runtime().start(body, data, static_cast<unsigned>(threads));
}

void finish() noexcept { runtime().end(); }

}  // namespace kantorch::cpu::openmp

#else

namespace kantorch::cpu::openmp {

bool available() noexcept { return false; }
void start(void (*)(void*), void*, int) noexcept {}
void finish() noexcept {}

}  // namespace kantorch::cpu::openmp

#endif
