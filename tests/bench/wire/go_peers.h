// The program in Go (go_peers/), which has the subjects that are Go's.

#ifndef TANDEM_TESTS_BENCH_WIRE_GO_PEERS_H_
#define TANDEM_TESTS_BENCH_WIRE_GO_PEERS_H_

#include <string>

#include "absl/status/statusor.h"

namespace tandem::bench {

// Its path. Built when it is first asked for, which takes a minute or two, and
// the network for its modules. Errors: kUnavailable, with what is missing and
// how to get it.
absl::StatusOr<std::string> BuildGoPeers();

}  // namespace tandem::bench

#endif  // TANDEM_TESTS_BENCH_WIRE_GO_PEERS_H_
