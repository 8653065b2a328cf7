// What there is to run kernels on.
#pragma once

#include <string>

namespace kantorch::cuda {

// Why no kernel can run in this process, or nothing.
std::string why_unavailable();

// Whether these are kernels for the host's Team.
bool is_emulated();

// What the kernels were compiled by.
std::string compiler();

}  // namespace kantorch::cuda
