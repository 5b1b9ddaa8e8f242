#include "node/cli/watch.h"

#include <poll.h>
#include <sys/eventfd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <memory>
#include <thread>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "node/cli/hex.h"
#include "node/cli/json.h"
#include "rpc/base/status_macros.h"
#include "rpc/base/unique_fd.h"

namespace tandem::node {
namespace {

// Between attempts to reach a node that went away.
constexpr absl::Duration kPause = absl::Milliseconds(100);

constexpr char kMore[] =
    "Prints each block once, in order, over restarts of the node too; Ctrl-C\n"
    "or SIGTERM ends it, with exit status 0. Without --from, it begins with "
    "the\n"
    "next block.\n\n"
    "Example:\n"
    "  tandem watch --from 1\n"
    "  tandem watch --json --count 3";

// Cancels calls once the process is asked to end.
class CancelAtEnd {
 public:
  // `over`: an eventfd. All outlive this.
  CancelAtEnd(const rpc::Termination& termination, int over,
              rpc::Cancellation& cancellation)
      : over_(over), thread_([&termination, over, &cancellation] {
          pollfd fds[] = {
              {.fd = termination.fd(), .events = POLLIN, .revents = 0},
              {.fd = over, .events = POLLIN, .revents = 0}};
          while (::poll(fds, 2, -1) < 0) {
          }
          if (fds[0].revents != 0) cancellation.Cancel();
        }) {}
  ~CancelAtEnd() {
    ::eventfd_write(over_, 1);
    thread_.join();
  }
  CancelAtEnd(const CancelAtEnd&) = delete;
  CancelAtEnd& operator=(const CancelAtEnd&) = delete;

 private:
  const int over_;
  std::thread thread_;
};

std::string TimeOf(const v1::Block& block) {
  const auto& time = block.header().time();
  return absl::FormatTime(
      "%Y-%m-%dT%H:%M:%E3SZ",
      absl::FromUnixSeconds(time.seconds()) + absl::Nanoseconds(time.nanos()),
      absl::UTCTimeZone());
}

std::string ToJson(const v1::CommittedBlock& committed) {
  const v1::Block& block = committed.block();
  nlohmann::ordered_json txs = nlohmann::ordered_json::array();
  for (int i = 0; i < block.txs_size() && i < committed.results_size(); ++i) {
    const v1::TxResult& result = committed.results(i);
    txs.push_back({{"hash", ToHex(result.hash())},
                   {"tx", block.txs(i)},
                   {"tx_hex", ToHex(block.txs(i))},
                   {"code", result.code()},
                   {"log", result.log()}});
  }
  return OneLine({{"height", block.header().height()},
                  {"time", TimeOf(block)},
                  {"hash", ToHex(committed.hash())},
                  {"app_hash", ToHex(committed.app_hash())},
                  {"txs", txs}});
}

std::string ToText(const v1::CommittedBlock& committed) {
  const v1::Block& block = committed.block();
  return absl::StrFormat("%8d  %s  %5d txs  block %s  app %s",
                         block.header().height(), TimeOf(block),
                         block.txs_size(), ToHex(committed.hash()),
                         ToHex(committed.app_hash()));
}

}  // namespace

WatchCommand::WatchCommand(CLI::App& program)
    : Command(program.add_subcommand("watch",
                                     "Print committed blocks as they come")),
      node_(app(), "--node") {
  app().footer(kMore);
  app()
      .add_option("--from", from_, "The first height to print")
      // Larger numbers are read as the largest.
      ->check(CLI::Range(std::int64_t{1},
                         std::numeric_limits<std::int64_t>::max() - 1,
                         "HEIGHT"))
      ->type_name("HEIGHT");
  app()
      .add_option("--count", count_, "Stop after so many blocks; 0: go on")
      ->check(CLI::NonNegativeNumber);
  app().add_flag("--json", is_json_, "Print an object per block");
}

absl::StatusOr<int> WatchCommand::Run(Output& output) {
  TANDEM_ASSIGN_OR_RETURN(const auto termination, rpc::Termination::Create());
  const rpc::UniqueFd over(::eventfd(0, EFD_CLOEXEC));
  if (!over.is_valid()) return absl::ErrnoToStatus(errno, "eventfd");
  const CancelAtEnd cancel(*termination, over.get(), cancellation_);
  TANDEM_ASSIGN_OR_RETURN(auto channel, node_.Connect());
  v1::NodeClient client(*channel);
  const absl::Status status = PrintAll(client, *termination, output);
  // The end that was asked for.
  if (termination->signal() != 0 && absl::IsCancelled(status)) return 0;
  TANDEM_RETURN_IF_ERROR(status);
  return 0;
}

absl::Status WatchCommand::PrintAll(v1::NodeClient& client,
                                    const rpc::Termination& termination,
                                    Output& output) {
  if (absl::Status begun = Begin(client); !begun.ok()) {
    return node_.Explain(begun);
  }
  bool is_away = false;
  while (true) {
    const std::uint64_t before = printed_;
    const absl::Status status = Follow(client, output);
    if (status.ok() || output.is_closed()) return status;
    if (!absl::IsUnavailable(status)) return node_.Explain(status);
    if (printed_ != before) is_away = false;
    if (!is_away) {
      absl::FPrintF(stderr, "%s: %s; waiting for the node\n", node_.address(),
                    status.message());
    }
    is_away = true;
    if (termination.Wait(kPause)) return absl::OkStatus();
  }
}

absl::Status WatchCommand::Begin(v1::NodeClient& client) {
  TANDEM_ASSIGN_OR_RETURN(const v1::StatusReply status,
                          client.Status({}, {.cancellation = cancellation_}));
  chain_id_ = status.chain_id();
  next_ = from_.value_or(status.height() + 1);
  // A chain may begin at another height than 1.
  if (next_ < status.initial_height() && status.height() == 0) {
    next_ = status.initial_height();
  }
  return absl::OkStatus();
}

absl::Status WatchCommand::CheckChain(const v1::StatusReply& status) {
  if (status.chain_id() == chain_id_ &&
      (printed_ == 0 || status.height() + 1 >= next_)) {
    return absl::OkStatus();
  }
  return absl::DataLossError(
      absl::StrCat("the node came back with another chain: ", status.chain_id(),
                   " at height ", status.height(), ", was ", chain_id_,
                   " at height ", next_ - 1));
}

absl::Status WatchCommand::Follow(v1::NodeClient& client, Output& output) {
  TANDEM_ASSIGN_OR_RETURN(const v1::StatusReply status,
                          client.Status({}, {.cancellation = cancellation_}));
  TANDEM_RETURN_IF_ERROR(CheckChain(status));
  v1::SubscribeRequest request;
  request.set_from_height(next_);
  auto blocks = client.Subscribe(request, {.cancellation = cancellation_});
  v1::CommittedBlock block;
  while (!IsDone()) {
    if (!blocks.Read(&block)) {
      // A node that stops ends its streams; it may come back.
      return blocks.status().ok() ? absl::UnavailableError("the stream ended")
                                  : blocks.status();
    }
    TANDEM_RETURN_IF_ERROR(Print(block, output));
  }
  return absl::OkStatus();
}

absl::Status WatchCommand::Print(const v1::CommittedBlock& block,
                                 Output& output) {
  const v1::Header& header = block.block().header();
  if (header.height() != next_ ||
      (!last_hash_.empty() && header.last_block_hash() != last_hash_)) {
    return absl::DataLossError(
        absl::StrCat("block ", header.height(), " does not follow block ",
                     next_ - 1, ": the node has another chain now"));
  }
  TANDEM_RETURN_IF_ERROR(output.Line(is_json_ ? ToJson(block) : ToText(block)));
  TANDEM_RETURN_IF_ERROR(output.Flush());
  next_ = header.height() + 1;
  last_hash_ = block.hash();
  ++printed_;
  return absl::OkStatus();
}

}  // namespace tandem::node
