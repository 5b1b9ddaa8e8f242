// A server in a process of its own, and the test as its client.

#ifndef TANDEM_RPC_TESTING_PROCESS_PAIR_H_
#define TANDEM_RPC_TESTING_PROCESS_PAIR_H_

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "rpc/client/channel.h"
#include "rpc/testing/process.h"
#include "rpc/testing/temp_dir.h"

namespace tandem::rpc::testing {

struct ProcessPairOptions {
  // The server's program, then its arguments. In each, "{socket}" becomes the
  // address to listen on ("unix:/tmp/..."), and "{dir}" a directory that is the
  // pair's own and stays over restarts.
  std::vector<std::string> server = {};
  // "NAME=value", over the test's own environment.
  std::vector<std::string> environment = {};
  // How the test connects.
  ChannelOptions channel = {};
  // How long Start() and Restart() wait for the server, and Terminate() for its
  // end.
  absl::Duration timeout = absl::Seconds(30);
};

// Starts a real server, kills it, starts it again, and calls it over its
// socket. When the test fails, what the server has written is printed.
//
//   ProcessPair pair({.server = {KV_SERVER, "--listen", "{socket}"}});
//   ASSERT_THAT(pair.Start(), IsOk());
//   kv::v1::StoreClient store(pair.channel());
//   pair.Kill();
//   ASSERT_THAT(pair.Restart(), IsOk());
//   EXPECT_THAT(store.Get(request), IsOk());
//
// Several servers that know each other: a pair each, and the other's address()
// among the arguments.
//
// Lifecycle: the destructor kills the server and removes the directory.
// Thread safety: thread-compatible.
class ProcessPair {
 public:
  explicit ProcessPair(ProcessPairOptions options);
  ~ProcessPair();
  ProcessPair(const ProcessPair&) = delete;
  ProcessPair& operator=(const ProcessPair&) = delete;

  // Starts the server and waits until it answers. Errors: kFailedPrecondition
  // when it runs already; kAborted when it exits instead, with its last words;
  // kDeadlineExceeded; those of Process::Start.
  absl::Status Start();
  // Starts the server, and does not wait until it answers. `environment` is for
  // this run alone, over that of the options.
  absl::Status Launch(const std::vector<std::string>& environment = {});
  // Waits until the server answers; errors as Start().
  absl::Status WaitReady();

  // Ends the server at once (SIGKILL) and waits for its end. Nothing happens to
  // one that has ended.
  void Kill();
  // Asks the server to end (SIGTERM); returns its exit status, 128 + signal if
  // a signal ended it. Errors: kDeadlineExceeded, then it still runs.
  absl::StatusOr<int> Terminate();
  // Waits for the server to end by itself; as Terminate() without asking.
  absl::StatusOr<int> WaitExit();
  // Kill(), then Start().
  absl::Status Restart();

  // Stops the server's threads where they are, and lets them go on. Suspend()
  // returns once they stand still.
  absl::Status Suspend();
  absl::Status Resume();

  // Where the server listens.
  const std::string& address() const { return address_; }
  // What "{dir}" stands for.
  std::string directory() const { return temp_.File("data"); }
  // To the server, across its restarts.
  Channel& channel() { return *channel_; }
  // 0 while it does not run.
  pid_t pid() const;
  bool is_running() const { return process_ && process_->is_running(); }
  // What the server has written to standard output and error, in all its runs.
  std::string Log() const;

 private:
  const ProcessPairOptions options_;
  const TempDir temp_;
  const std::string address_;
  const std::unique_ptr<Channel> channel_;
  std::unique_ptr<Process> process_;
};

}  // namespace tandem::rpc::testing

#endif  // TANDEM_RPC_TESTING_PROCESS_PAIR_H_
