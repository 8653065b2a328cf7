#include "cpu/line/order.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace kantorch::cpu {
namespace {

constexpr int digits = 8;
constexpr std::size_t values = 256;  // of a digit

// Unsigned integers in the order of the numbers.
std::uint64_t key_of(double at) noexcept {
  std::uint64_t bits;
  std::memcpy(&bits, &at, sizeof(bits));
  return bits >> 63 != 0 ? ~bits : bits | std::uint64_t{1} << 63;
}

// Digit by digit, from the lowest, skipping those in which all points agree.
bool radix_sort(std::vector<Placed>& points, const Cpu& exec) {
  const Index size = static_cast<Index>(points.size());
  std::vector<std::size_t> counts(digits * values, 0);
  std::vector<Placed> other;
  if (!each_in_strips(size, exec,
                      [&](Index k) {
                        const std::uint64_t key = key_of(points[k].at);
                        for (std::size_t d = 0; d < digits; ++d)
                          ++counts[d * values + (key >> (8 * d) & 255)];
                      }) ||
      !resize_in_strips(other, size, exec)) {
    return false;
  }
  for (std::size_t d = 0; d < digits; ++d) {
    std::size_t* const first = counts.data() + d * values;
    if (std::find(first, first + values, points.size()) != first + values) continue;
    std::size_t before = 0;
    for (std::size_t v = 0; v < values; ++v) before += std::exchange(first[v], before);
    if (!each_in_strips(size, exec, [&](Index k) {
          other[first[key_of(points[k].at) >> (8 * d) & 255]++] = points[k];
        })) {
      return false;
    }
    points.swap(other);
  }
  return true;
}

}  // namespace

bool sort_points(std::vector<Placed>& points, const Cpu& exec) {
  constexpr std::size_t worthwhile = 1024;
  if (points.size() >= worthwhile) return radix_sort(points, exec);
  std::sort(points.begin(), points.end());
  return true;
}

}  // namespace kantorch::cpu
