// What a process costs, as the kernel counts it.

#ifndef TANDEM_TESTS_BENCH_PROCESS_METER_H_
#define TANDEM_TESTS_BENCH_PROCESS_METER_H_

#include <sys/types.h>

#include "absl/time/time.h"

namespace tandem::bench {

// User and system time of a process since it began; zero once it is gone.
absl::Duration CpuTime(pid_t pid);

// The same of all processes of the machine, and of none: idle or waiting for
// the disk.
struct MachineTime {
  absl::Duration busy;
  absl::Duration idle;
};
MachineTime CpuTimeOfMachine();

// Memory that the process holds now, in bytes; 0 once it is gone.
double ResidentBytes(pid_t pid);

}  // namespace tandem::bench

#endif  // TANDEM_TESTS_BENCH_PROCESS_METER_H_
