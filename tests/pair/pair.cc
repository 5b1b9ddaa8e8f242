#include "tests/pair/pair.h"

#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "rpc/base/status_macros.h"
#include "tests/support/trace.h"
#include "tests/support/wire.h"

namespace tandem {
namespace {

constexpr absl::Duration kGenerous = absl::Seconds(30);

std::vector<std::string> NodeCommand(const std::string& app,
                                     const std::vector<std::string>& more) {
  std::vector<std::string> command = {TANDEM_BIN_DIR "/tandem-node",
                                      "--app",
                                      app,
                                      "--wire",
                                      test::WireOr("socket"),
                                      "--listen",
                                      "{socket}",
                                      "--data",
                                      "{dir}/node",
                                      "--record",
                                      "{dir}/trace"};
  command.insert(command.end(), more.begin(), more.end());
  return command;
}

}  // namespace

Pair::Pair(std::vector<std::string> node_arguments)
    : app_({.server = {TANDEM_BIN_DIR "/tandem-kvstore", "--listen", "{socket}",
                       "--data", "{dir}/app"}}),
      node_({.server = NodeCommand(app_.address(), node_arguments)}),
      client_(node_.channel()) {}

Pair::~Pair() {
  app_.Kill();
  node_.Kill();
  for (const std::string& what : Violations()) ADD_FAILURE() << what;
}

std::vector<std::string> Pair::Violations() {
  const std::string path = node_.directory() + "/trace";
  if (!std::filesystem::exists(path)) return {};
  return ViolationsIn(path, {.allow_older_state = allow_older_state_});
}

absl::Status Pair::Start() {
  TANDEM_RETURN_IF_ERROR(app_.Start());
  TANDEM_RETURN_IF_ERROR(node_.Start());
  return Await(node::v1::AppStatus::RUNNING);
}

absl::StatusOr<node::v1::SubmitBatchReply> Pair::Submit(
    const std::vector<std::string>& txs) {
  node::v1::SubmitBatchRequest request;
  for (const std::string& tx : txs) request.add_txs(tx);
  request.set_wait(node::v1::COMMIT);
  request.mutable_timeout()->set_seconds(30);
  return client_.SubmitBatch(request, {.timeout = absl::Seconds(60)});
}

absl::StatusOr<std::int64_t> Pair::Commit(const std::string& tx) {
  TANDEM_ASSIGN_OR_RETURN(auto reply, Submit({tx}));
  const node::v1::BatchResult& result = reply.results(0);
  if (result.status() != 0) {
    return absl::Status(static_cast<absl::StatusCode>(result.status()),
                        result.message());
  }
  if (result.result().code() != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("code ", result.result().code()));
  }
  return result.result().height();
}

absl::StatusOr<std::string> Pair::Get(const std::string& key) {
  node::v1::QueryRequest request;
  request.set_data(key);
  TANDEM_ASSIGN_OR_RETURN(auto reply, client_.Query(request));
  return reply.value();
}

absl::StatusOr<node::v1::StatusReply> Pair::Status() {
  return client_.Status({});
}

absl::Status Pair::Await(node::v1::AppStatus::State state) {
  const absl::Time limit = absl::Now() + kGenerous;
  while (true) {
    TANDEM_ASSIGN_OR_RETURN(auto status, Status());
    const bool has_block =
        state != node::v1::AppStatus::RUNNING || status.height() > 0;
    if (status.app().state() == state && has_block) return absl::OkStatus();
    if (absl::Now() > limit) {
      return absl::DeadlineExceededError(
          absl::StrCat("the node is not so: ", status.DebugString()));
    }
    absl::SleepFor(absl::Milliseconds(5));
  }
}

}  // namespace tandem
