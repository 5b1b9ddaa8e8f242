#include "tests/bench/wire/go_peers.h"

#include "rpc/base/status_macros.h"
#include "tests/interop/go_program.h"

namespace tandem::bench {

absl::StatusOr<std::string> BuildGoPeers() {
  TANDEM_ASSIGN_OR_RETURN(
      const std::string go,
      test::GoProgram("google.golang.org/protobuf/cmd/protoc-gen-go",
                      "v1.36.6"));
  TANDEM_ASSIGN_OR_RETURN(
      const std::string ttrpc,
      test::GoProgram("github.com/containerd/ttrpc/cmd/protoc-gen-go-ttrpc",
                      "v1.2.7"));
  TANDEM_ASSIGN_OR_RETURN(
      const std::string grpc,
      test::GoProgram("google.golang.org/grpc/cmd/protoc-gen-go-grpc",
                      "v1.5.1"));
  const std::string module = "module=tests/bench/wire/go_peers";
  return test::GoModule(
      {.directory = TANDEM_WIRE_GO,
       .proto = "echo.proto",
       .plugins = {{"go", go, module},
                   {"go-ttrpc", ttrpc, module + ",prefix=TTRPC"},
                   {"go-grpc", grpc, module}}});
}

}  // namespace tandem::bench
