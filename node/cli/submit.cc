#include "node/cli/submit.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "node/cli/batch_sender.h"
#include "node/cli/hex.h"
#include "node/cli/json.h"
#include "node/cli/line_reader.h"
#include "node/cli/progress.h"
#include "rpc/base/status_macros.h"
#include "rpc/server/termination.h"

namespace tandem::node {
namespace {

bool IsAccepted(const Submission& submission) {
  return submission.status.ok() && submission.result.code() == 0;
}

std::string WhyNot(const Submission& submission) {
  if (!submission.status.ok()) {
    return absl::StrCat(absl::StatusCodeToString(submission.status.code()),
                        ": ", submission.status.message());
  }
  return absl::StrCat(
      "the application refused it with code ", submission.result.code(),
      submission.result.log().empty() ? "" : ": ", submission.result.log());
}

std::string ToJson(const Submission& submission) {
  const bool is_judged = submission.status.ok();
  nlohmann::ordered_json json;
  json["line"] = submission.line;
  json["hash"] = ToHex(submission.result.hash());
  json["code"] = is_judged ? nlohmann::ordered_json(submission.result.code())
                           : nlohmann::ordered_json(nullptr);
  json["log"] = submission.result.log();
  json["height"] = submission.result.height();
  if (!is_judged) {
    json["error"] = {
        {"status", absl::StatusCodeToString(submission.status.code())},
        {"message", std::string(submission.status.message())}};
  }
  json["milliseconds"] = absl::ToDoubleMilliseconds(submission.latency);
  return OneLine(json);
}

// What the answers add up to.
class Tally {
 public:
  void Add(const Submission& submission) {
    if (IsAccepted(submission)) {
      ++accepted_;
      latencies_.push_back(submission.latency);
    } else {
      ++failed_;
    }
    const std::int64_t height = submission.result.height();
    if (height == 0) return;
    first_height_ = first_height_ == 0 ? height : first_height_;
    last_height_ = std::max(last_height_, height);
  }

  std::uint64_t answered() const { return accepted_ + failed_; }
  std::uint64_t failed() const { return failed_; }

  std::string Text(absl::string_view verb) {
    std::string text = absl::StrCat(accepted_, " ", verb);
    if (last_height_ != 0) {
      absl::StrAppend(&text, " in blocks ", first_height_, " to ",
                      last_height_);
    }
    absl::StrAppend(&text, ", ", failed_, " failed");
    if (!latencies_.empty()) {
      std::sort(latencies_.begin(), latencies_.end());
      absl::StrAppendFormat(&text,
                            "; answered in batches, within %s (p50), %s (p99)",
                            At(0.50), At(0.99));
    }
    return text;
  }

 private:
  std::string At(double share) const {
    const auto place = static_cast<std::size_t>(
        share * static_cast<double>(latencies_.size() - 1));
    return absl::StrFormat("%.1f ms",
                           absl::ToDoubleMilliseconds(latencies_[place]));
  }

  std::uint64_t accepted_ = 0;
  std::uint64_t failed_ = 0;
  std::int64_t first_height_ = 0;
  std::int64_t last_height_ = 0;
  std::vector<absl::Duration> latencies_;
};

struct Input {
  std::string name;
  rpc::UniqueFd file;
  std::uint64_t bytes = 0;  // 0: not known.
};

absl::StatusOr<Input> OpenInput(const std::string& file) {
  Input input{.name = file == "-" ? "standard input" : file};
  input.file =
      rpc::UniqueFd(file == "-" ? ::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0)
                                : ::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!input.file.is_valid()) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot read ", input.name));
  }
  struct stat found;
  if (::fstat(input.file.get(), &found) == 0 && S_ISREG(found.st_mode)) {
    input.bytes = static_cast<std::uint64_t>(found.st_size);
  }
  return input;
}

// Turns the lines of an input into transactions.
class TransactionReader {
 public:
  // Until `stop` is readable.
  TransactionReader(Input input, bool is_hex, std::size_t max_bytes, int stop)
      : total_(input.bytes),
        is_hex_(is_hex),
        max_bytes_(max_bytes),
        lines_(std::move(input.file), std::move(input.name),
               is_hex ? 2 * max_bytes : max_bytes, stop) {}

  // False at the end. A line that is no transaction has a status.
  absl::StatusOr<bool> Next(Submission& submission) {
    LineReader::Line line;
    TANDEM_ASSIGN_OR_RETURN(const bool has_line, lines_.Next(line));
    if (!has_line) return false;
    submission = Submission{.line = ++count_, .tx = std::move(line.text)};
    submission.status = Check(line.is_cut, submission.tx);
    return true;
  }

  bool WouldWait() const { return lines_.WouldWait(); }

  // `more` comes behind it.
  void Show(Progress& progress, std::uint64_t answered,
            absl::string_view more = "") const {
    progress.Show(
        lines_.position(), total_,
        absl::StrCat(answered, " of ", count_, " lines answered", more));
  }

 private:
  absl::Status Check(bool is_cut, std::string& tx) const {
    if (is_cut) {
      return absl::InvalidArgumentError(absl::StrCat(
          "larger than the ", max_bytes_, " bytes that the node takes"));
    }
    if (tx.empty()) return absl::InvalidArgumentError("the line is empty");
    if (!is_hex_) return absl::OkStatus();
    TANDEM_ASSIGN_OR_RETURN(tx, FromHex(tx));
    return absl::OkStatus();
  }

  const std::uint64_t total_;
  const bool is_hex_;
  const std::size_t max_bytes_;
  LineReader lines_;
  std::uint64_t count_ = 0;
};

// Writes answers as they come.
class Report {
 public:
  Report(Output& output, bool is_json) : output_(output), is_json_(is_json) {}

  absl::Status Add(const std::vector<Submission>& submissions) {
    for (const Submission& submission : submissions) {
      tally_.Add(submission);
      if (is_json_) TANDEM_RETURN_IF_ERROR(output_.Line(ToJson(submission)));
      if (!is_json_ && !IsAccepted(submission)) {
        progress_.Clear();
        absl::FPrintF(stderr, "line %d: %s\n", submission.line,
                      WhyNot(submission));
      }
    }
    return submissions.empty() ? absl::OkStatus() : output_.Flush();
  }

  Tally& tally() { return tally_; }
  Progress& progress() { return progress_; }

 private:
  Output& output_;
  const bool is_json_;
  Tally tally_;
  Progress progress_;
};

// Until the end of the input or of the process: then what is not on its way is
// not sent.
absl::Status SubmitAll(TransactionReader& reader, BatchSender& sender,
                       const rpc::Termination& termination, Report& report) {
  Submission submission;
  for (bool has_line = true; has_line && termination.signal() == 0;) {
    // Whoever writes the input may wait for an answer before the next line.
    if (reader.WouldWait() || sender.is_full()) {
      TANDEM_RETURN_IF_ERROR(report.Add(sender.Send()));
      reader.Show(report.progress(), report.tally().answered());
    }
    TANDEM_ASSIGN_OR_RETURN(has_line, reader.Next(submission));
    if (has_line) sender.Add(std::move(submission));
  }
  if (termination.signal() == 0) {
    TANDEM_RETURN_IF_ERROR(report.Add(sender.Send()));
    reader.Show(report.progress(), report.tally().answered());
  }
  return absl::OkStatus();
}

constexpr char kMore[] =
    "Each line is one transaction, without its newline. A line that fails is\n"
    "reported and does not stop the rest; the exit status is 1 then. When the\n"
    "node or the application goes away meanwhile, lines wait for it until\n"
    "--timeout, and are handed in again unless it has them. Lines that are "
    "there together are handed in together, up to\n"
    "2,000, and answered together: each with the time of them all.\n\n"
    "Ctrl-C or SIGTERM ends it after the lines that are on their way: it says\n"
    "which line was the last and exits with 130 or 143. A second one ends it\n"
    "at once.\n\n"
    "Example:\n"
    "  printf 'color=blue\\nsize=4\\n' | tandem submit\n"
    "  tandem submit --json --wait check transactions.txt";

}  // namespace

SubmitCommand::SubmitCommand(CLI::App& program)
    : Command(program.add_subcommand("submit", "Hand in transactions")),
      node_(app(), "--node") {
  app().footer(kMore);
  app()
      .add_option("FILE", file_, "File to read; - is standard input")
      ->capture_default_str();
  app().add_flag("--hex", is_hex_, "Lines are hexadecimal digits of bytes");
  app()
      .add_option("--wait", wait_,
                  "check: until the application has checked it; commit: until "
                  "it is durable in a block")
      ->check(CLI::IsMember({"check", "commit"}))
      ->capture_default_str();
  app()
      .add_option("--timeout", timeout_seconds_,
                  "What each transaction has to get there, in seconds")
      ->check(CLI::Range(0.001, 86400.0))
      ->capture_default_str();
  app().add_flag("--json", is_json_,
                 "Print an object per line, in the order of the lines");
}

absl::StatusOr<int> SubmitCommand::Run(Output& output) {
  TANDEM_ASSIGN_OR_RETURN(Input input, OpenInput(file_));
  TANDEM_ASSIGN_OR_RETURN(auto channel, node_.Connect());
  v1::NodeClient client(*channel);
  const absl::Duration timeout = absl::Seconds(timeout_seconds_);
  const auto status = client.Status(
      {}, {.timeout = std::min(timeout, rpc::kDefaultCallTimeout)});
  if (!status.ok()) return node_.Explain(status.status());

  TANDEM_ASSIGN_OR_RETURN(const auto termination, rpc::Termination::Create());
  TransactionReader reader(std::move(input), is_hex_,
                           status->mempool().max_transaction_bytes(),
                           termination->fd());
  Report report(output, is_json_);
  const auto show_wait = [&reader, &report](std::string_view whom) {
    reader.Show(report.progress(), report.tally().answered(),
                absl::StrCat("; waiting for ", std::string(whom)));
  };
  BatchSender sender(client, {.wait = wait_ == "check" ? v1::CHECK : v1::COMMIT,
                              .timeout = timeout,
                              .on_wait = show_wait});
  TANDEM_RETURN_IF_ERROR(SubmitAll(reader, sender, *termination, report));
  report.progress().Clear();
  if (!is_json_) {
    TANDEM_RETURN_IF_ERROR(output.Line(
        report.tally().Text(wait_ == "check" ? "accepted" : "committed")));
  }
  if (const int signal = termination->signal(); signal != 0) {
    absl::FPrintF(stderr, "interrupted after line %d\n",
                  report.tally().answered());
    return 128 + signal;
  }
  return report.tally().failed() == 0 ? 0 : 1;
}

}  // namespace tandem::node
