// The orders in which tests resume the lanes of a block.
#pragma once

#include "cuda/runtime/team_host.hpp"

constexpr kantorch::cuda::Schedule schedules[] = {
    {kantorch::cuda::Order::ascending, 0},
    {kantorch::cuda::Order::descending, 0},
    {kantorch::cuda::Order::random, 1},
    {kantorch::cuda::Order::random, 2},
};
