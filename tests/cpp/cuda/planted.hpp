// Runs a test case of this program in a child process, to see what a sanitizer says of it.
#pragma once

#include <unistd.h>

#include <array>
#include <cstdio>
#include <stdexcept>
#include <string>

// What the test case, which is skipped otherwise, writes, and whether its process ended well.
struct Report {
  std::string text;
  bool passed;
};

inline Report run_planted(const std::string& test_case) {
  std::array<char, 4096> path{};
  if (readlink("/proc/self/exe", path.data(), path.size() - 1) < 0)
    throw std::runtime_error("cannot find this program");
  const std::string command = std::string("TSAN_OPTIONS=atexit_sleep_ms=0 '") + path.data() +
                              "' --no-skip --test-case='" + test_case + "' 2>&1";
  FILE* const output = popen(command.c_str(), "r");
  if (output == nullptr) throw std::runtime_error("cannot run " + command);
  Report report;
  for (std::array<char, 4096> buffer; fgets(buffer.data(), buffer.size(), output) != nullptr;)
    report.text += buffer.data();
  report.passed = pclose(output) == 0;
  return report;
}
