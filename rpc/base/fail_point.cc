#include "rpc/base/fail_point.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "absl/strings/numbers.h"
#include "rpc/base/unique_fd.h"

namespace tandem::rpc {
namespace {

constexpr char kPoint[] = "TANDEM_FAIL_POINT";
constexpr char kTrace[] = "TANDEM_FAIL_POINT_TRACE";

// What no program should run with. It is the test's mistake, before main().
[[noreturn]] void EndWith(const char* variable, const char* value,
                          const char* why) {
  std::fprintf(stderr, "%s=%s: %s\n", variable, value, why);
  ::_exit(2);
}

// What the environment asks for.
struct Plan {
  std::string name;  // empty: no crash
  std::atomic<std::int64_t> passes_left = 1;
  UniqueFd trace;
  std::string trace_path;
};

void ReadPoint(const char* value, Plan& plan) {
  const std::string_view text = value;
  const std::size_t colon = text.find(':');
  plan.name = std::string(text.substr(0, colon));
  if (colon == std::string_view::npos) return;
  std::int64_t pass = 0;
  if (!absl::SimpleAtoi(value + colon + 1, &pass) || pass < 1) {
    EndWith(kPoint, value, "is not NAME or NAME:N, with N from 1");
  }
  plan.passes_left = pass;
}

void OpenTrace(const char* path, Plan& plan) {
  plan.trace =
      UniqueFd(::open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (!plan.trace.is_valid()) EndWith(kTrace, path, std::strerror(errno));
  plan.trace_path = path;
}

// Null without the variables. Never destroyed: threads may still run at exit.
Plan* ReadPlan() {
  const char* point = ::secure_getenv(kPoint);
  const char* trace = ::secure_getenv(kTrace);
  if (point == nullptr && trace == nullptr) return nullptr;
  auto* plan = new Plan;
  if (point != nullptr) ReadPoint(point, *plan);
  if (trace != nullptr) OpenTrace(trace, *plan);
  return plan;
}

// Tests are the only ones to set it, and it is the program's from its start.
Plan* const the_plan = ReadPlan();

}  // namespace

const bool has_fail_points = the_plan != nullptr;

void PassFailPoint(std::string_view name) {
  if (the_plan->trace.is_valid()) {
    const std::string line = std::string(name) + "\n";
    if (::write(the_plan->trace.get(), line.data(), line.size()) !=
        static_cast<ssize_t>(line.size())) {
      EndWith(kTrace, the_plan->trace_path.c_str(), std::strerror(errno));
    }
  }
  if (name != the_plan->name || the_plan->passes_left.fetch_sub(1) != 1) return;
  std::fprintf(stderr, "%s: ends at %s\n", kPoint, the_plan->name.c_str());
  ::kill(::getpid(), SIGKILL);
  ::pause();  // the signal is for the whole process, maybe first for others
}

}  // namespace tandem::rpc
