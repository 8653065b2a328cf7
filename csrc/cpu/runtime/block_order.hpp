// Which block of a problem a chunk of a parallel loop works on: the calling thread takes blocks
// from the front and the others from the back, so that from pass to pass most blocks stay in the
// cache of the same core.
#pragma once

#include <atomic>
#include <thread>

#include "core/view.hpp"

namespace kantorch::cpu {

template <Index most>
class BlockOrder {
 public:
  explicit BlockOrder(Index count) noexcept : count_(count) {}

  // For the calling thread of a loop of `count` chunks and its helpers; each chunk takes once.
  Index take() noexcept {
    const bool front = std::this_thread::get_id() == caller_;
    for (Index k = 0; k < count_; ++k) {
      const Index block = front ? k : count_ - 1 - k;
      if (!taken_[block].exchange(true, std::memory_order_relaxed)) return block;
    }
    return count_ - 1;  // not reached
  }

 private:
  const std::thread::id caller_ = std::this_thread::get_id();
  Index count_;
  std::atomic<bool> taken_[most] = {};
};

}  // namespace kantorch::cpu
