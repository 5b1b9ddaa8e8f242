// `tandem doctor`: what is wrong with a socket, or with data, and how to mend
// it.

#ifndef TANDEM_NODE_CLI_DOCTOR_H_
#define TANDEM_NODE_CLI_DOCTOR_H_

#include <CLI/CLI.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "node/cli/command.h"
#include "rpc/server/program.h"

namespace tandem::node {

// Examines one socket, or all that servers use in a directory, and says hello
// to those that live; or what a pair that does not run keeps. Exit status 1
// when there is a problem.
class DoctorCommand final : public Command {
 public:
  explicit DoctorCommand(CLI::App& program);

  absl::StatusOr<int> Run(Output& output) override;

 private:
  absl::StatusOr<int> ExamineData(Output& output) const;

  std::string data_;
  std::string target_ = rpc::DefaultPairPath();
  std::string allow_shared_directory_;
  bool is_json_ = false;
};

}  // namespace tandem::node

#endif  // TANDEM_NODE_CLI_DOCTOR_H_
