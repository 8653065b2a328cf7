#include "cpu/runtime/huge_pages.hpp"

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#endif

namespace kantorch::cpu {

#if defined(__linux__) && defined(MADV_HUGEPAGE)

void prefer_huge_pages(void* memory, Index bytes) noexcept {
  // A large page is touched as a whole: beside less memory than this, its rest would count.
  constexpr Index least = Index{32} << 20;
  if (bytes < least) return;
  const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto begin = (reinterpret_cast<std::uintptr_t>(memory) + page - 1) / page * page;
  const auto end =
      (reinterpret_cast<std::uintptr_t>(memory) + static_cast<std::uintptr_t>(bytes)) / page * page;
  // Only advice: where it is refused, the memory is as good as before.
  static_cast<void>(madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE));
}

#else

void prefer_huge_pages(void*, Index) noexcept {}

#endif

}  // namespace kantorch::cpu
