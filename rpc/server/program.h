// What programs that serve have in common: their command line and how they end.

#ifndef TANDEM_RPC_SERVER_PROGRAM_H_
#define TANDEM_RPC_SERVER_PROGRAM_H_

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "rpc/server/server.h"

namespace CLI {
class App;
}  // namespace CLI

namespace tandem::rpc {

// Where a pair of programs keeps its sockets and data when nobody says where:
// $TANDEM_DATA, else ./tandem-data.
std::string DefaultPairPath();

// The address of one of the pair there, such as "unix:DIR/run/app.sock" for the
// role "app".
std::string PairAddress(std::string_view role);

// The options of a program that serves: --listen, --data, --mode, --group and
// --allow-shared-directory; who may call (--allow-...); and limits.
//
// Lifecycle: outlives the parsing of the command line.
// Thread safety: thread-compatible.
class ProgramOptions {
 public:
  // `role` is the program's place in DefaultPairPath(): without options, "app"
  // listens at PairAddress("app"), and its data is in DefaultPairPath()/app.
  ProgramOptions(CLI::App& program, std::string role);
  ProgramOptions(const ProgramOptions&) = delete;
  ProgramOptions& operator=(const ProgramOptions&) = delete;

  // Address, permissions, access and limits; reflection is on. Makes the
  // directory of the default address. To be called before the program opens
  // anything, so that a socket that is not handed in is missed. Errors:
  // kInvalidArgument (address, mode, rule, time); kNotFound (user, group,
  // socket); kFailedPrecondition (several sockets of one name); what mkdir(2)
  // says.
  absl::StatusOr<ServerOptions> ReadServerOptions() const;

  // Errors: kInvalidArgument when it is said to be "".
  absl::StatusOr<std::string> ReadDataDirectory() const;

 private:
  void AddLimits();
  absl::Status ReadAccess(AccessPolicy& access) const;

  CLI::App& program_;
  const std::string role_;
  std::string listen_;
  std::string data_;
  std::string mode_;
  std::string group_;
  std::string shared_;
  std::vector<std::string> users_;
  std::vector<std::string> groups_;
  std::vector<std::string> rules_;
  // With the limits that were given, and otherwise as it is made.
  ServerOptions limits_;
  std::string idle_timeout_;
};

// Opens /dev/null on standard descriptors that are closed, reads the command
// line of `program` and runs `body`, which logs to standard error by spdlog
// under the program's name. Returns the exit status: 0; 1 when `body` fails,
// after its message on standard error; 2 when the command line is wrong, or
// `body` says kInvalidArgument.
int RunProgram(CLI::App& program, int argc, char** argv,
               const std::function<absl::Status()>& body);

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_SERVER_PROGRAM_H_
