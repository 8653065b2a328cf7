// Hands out aligned pieces of a caller's scratch memory. Run on no memory, it counts what it would
// need.
#pragma once

#include <cstdint>

#include "core/view.hpp"

namespace kantorch::cpu {

class Arena {
 public:
  explicit Arena(void* memory) noexcept
      : start_(reinterpret_cast<std::uintptr_t>(memory)), next_(start_) {}

  template <class T>
  T* take(Index count) noexcept {
    const std::uintptr_t piece = (next_ + alignment - 1) / alignment * alignment;
    next_ = piece + static_cast<std::uintptr_t>(count) * sizeof(T);
    return start_ == 0 ? nullptr : reinterpret_cast<T*>(piece);
  }

  // Enough wherever the memory starts.
  Index bytes() const noexcept { return static_cast<Index>(next_ - start_ + alignment); }

 private:
  static constexpr std::uintptr_t alignment = 64;
  std::uintptr_t start_;
  std::uintptr_t next_;
};

}  // namespace kantorch::cpu
