// The tandem program, run as a user would.

#ifndef TANDEM_TESTS_CLI_CLI_H_
#define TANDEM_TESTS_CLI_CLI_H_

#include <sys/types.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "rpc/testing/process.h"
#include "rpc/testing/temp_dir.h"

namespace tandem::node::testing {

// How long a test waits for what has to come.
inline constexpr absl::Duration kLong = absl::Seconds(60);

// What a program that has ended left.
struct Outcome {
  int status = -1;  // As a shell says it; -1: it did not end in time.
  std::string out;
  std::string err;

  // The lines of `out`, each a JSON object.
  std::vector<nlohmann::json> Objects() const;
  // Those of `tandem up` with this "event".
  std::vector<nlohmann::json> Events(std::string_view event) const;
};

// A program of ours that runs.
class Running {
 public:
  Running(const rpc::testing::TempDir& dir, std::vector<std::string> command,
          std::vector<std::string> environment, std::string input_path);

  // Waits until standard output has so many lines; returns whether it has.
  bool WaitLines(int count) const;
  std::string out() const;
  std::string err() const;

  void Signal(int signal);
  // Waits for its end.
  Outcome Wait();
  pid_t pid() const { return process_->pid(); }

 private:
  const std::string files_;  // What the paths of its output begin with.
  std::unique_ptr<rpc::testing::Process> process_;
};

// A place to run `tandem` in, with a data directory of its own. Each pair in it
// is recorded, and the test fails in the end where the app contract was broken
// (proto/abci/contract_checker.h).
class Cli {
 public:
  // `data`: under the test's directory.
  explicit Cli(std::string_view data = "data");
  ~Cli();

  // The application is about to be given older data than it had, or none.
  void AllowOlderState() { allow_older_state_ = true; }

  // Runs `tandem` with TANDEM_DATA set, and `input` as its standard input.
  Outcome Run(const std::vector<std::string>& arguments,
              std::string_view input = "");
  std::unique_ptr<Running> Start(const std::vector<std::string>& arguments);
  // The same with the program's path as $0 in a bash script.
  Outcome RunBash(const std::string& script);

  // Starts `tandem up` and waits until it is ready.
  std::unique_ptr<Running> Up();
  // What `up` said when it was ready for the `time`th time, for which it waits.
  static nlohmann::json Ready(const Running& up, std::size_t time = 1);

  const std::string& data() const { return data_; }
  // Of the pair, for `tandem trace`.
  std::string trace() const { return File("up.trace"); }
  std::string File(std::string_view name) const { return dir_.File(name); }

 private:
  std::vector<std::string> Command(
      const std::vector<std::string>& arguments) const;
  std::unique_ptr<Running> Launch(std::vector<std::string> command,
                                  std::string_view input);

  rpc::testing::TempDir dir_;
  const std::string data_;
  bool allow_older_state_ = false;
};

// Watches for the end of a process that need not be our child.
class Watched {
 public:
  explicit Watched(pid_t pid);
  ~Watched();
  Watched(const Watched&) = delete;
  Watched& operator=(const Watched&) = delete;
  // Waits for its end; false if it goes on.
  bool WaitEnded() const;

 private:
  const int pidfd_;
};

}  // namespace tandem::node::testing

#endif  // TANDEM_TESTS_CLI_CLI_H_
