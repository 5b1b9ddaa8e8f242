#include "tests/bench/process_meter.h"

#include <time.h>
#include <unistd.h>

#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"

namespace tandem::bench {
namespace {

absl::Duration Ticks(double ticks) {
  return absl::Seconds(ticks / static_cast<double>(::sysconf(_SC_CLK_TCK)));
}

}  // namespace

absl::Duration CpuTime(pid_t pid) {
  clockid_t clock;
  timespec time{};
  if (::clock_getcpuclockid(pid, &clock) != 0 ||
      ::clock_gettime(clock, &time) != 0) {
    return absl::ZeroDuration();
  }
  return absl::DurationFromTimespec(time);
}

MachineTime CpuTimeOfMachine() {
  std::ifstream file("/proc/stat");
  std::string name;
  double user = 0, nice = 0, system = 0, idle = 0, waiting = 0, irq = 0,
         softirq = 0;
  file >> name >> user >> nice >> system >> idle >> waiting >> irq >> softirq;
  return {.busy = Ticks(user + nice + system + irq + softirq),
          .idle = Ticks(idle + waiting)};
}

double ResidentBytes(pid_t pid) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/statm"));
  double total = 0;
  double resident = 0;
  file >> total >> resident;
  return resident * static_cast<double>(::sysconf(_SC_PAGESIZE));
}

}  // namespace tandem::bench
