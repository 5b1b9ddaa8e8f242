#include "proto/abci/trace_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "google/protobuf/util/delimited_message_util.h"
#include "rpc/base/status_macros.h"

namespace tandem::abci {
namespace {

// So much waits in memory at most.
constexpr std::size_t kEnough = 64 << 10;
// What is read at once.
constexpr std::size_t kChunk = 256 << 10;
// The most that Protobuf serializes, and so the largest record.
constexpr std::uint64_t kLargest = 0x7fffffff;
constexpr std::size_t kLongestVarint = 10;

absl::Status Failed(std::string_view what, const std::string& path) {
  return absl::ErrnoToStatus(
      errno, absl::StrCat("cannot ", std::string(what), " the trace ", path));
}

// The varint at the beginning of `bytes`, and its length; none while it is not
// whole.
std::optional<std::pair<std::uint64_t, std::size_t>> ReadLength(
    std::string_view bytes) {
  std::uint64_t length = 0;
  for (std::size_t i = 0; i < bytes.size() && i < kLongestVarint; ++i) {
    const auto byte = static_cast<unsigned char>(bytes[i]);
    length |= static_cast<std::uint64_t>(byte & 0x7f) << (7 * i);
    if ((byte & 0x80) == 0) return std::pair(length, i + 1);
  }
  return std::nullopt;
}

}  // namespace

TraceWriter::TraceWriter(std::string path, rpc::UniqueFd fd)
    : path_(std::move(path)), fd_(std::move(fd)) {}

absl::StatusOr<std::unique_ptr<TraceWriter>> TraceWriter::Open(
    const std::string& path) {
  rpc::UniqueFd fd(
      ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (!fd.is_valid()) return Failed("open", path);
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return Failed("lock", path);
    return absl::FailedPreconditionError(absl::StrCat(
        "another process writes the trace ", path, ": name another file"));
  }
  TANDEM_ASSIGN_OR_RETURN(const std::unique_ptr<TraceReader> reader,
                          TraceReader::Open(path));
  // The first says whether it is a trace; the others have lengths.
  TANDEM_ASSIGN_OR_RETURN(const auto first, reader->Next());
  for (bool is_more = first.has_value(); is_more;) {
    TANDEM_ASSIGN_OR_RETURN(is_more, reader->Skip());
  }
  if (reader->is_cut() && ::ftruncate(fd.get(), reader->offset()) != 0) {
    return Failed("cut the end of", path);
  }
  return std::unique_ptr<TraceWriter>(new TraceWriter(path, std::move(fd)));
}

TraceWriter::~TraceWriter() { Flush().IgnoreError(); }

absl::Status TraceWriter::Append(const v1::TraceRecord& record) {
  {
    google::protobuf::io::StringOutputStream out(&unwritten_);
    if (!google::protobuf::util::SerializeDelimitedToZeroCopyStream(record,
                                                                    &out)) {
      return absl::ResourceExhaustedError(
          absl::StrCat("a record of the trace ", path_, " is too large"));
    }
  }
  return unwritten_.size() < kEnough ? absl::OkStatus() : Flush();
}

absl::Status TraceWriter::Flush() {
  std::string_view left = unwritten_;
  while (!left.empty()) {
    const ssize_t n = ::write(fd_.get(), left.data(), left.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Failed("write", path_);
    left.remove_prefix(n);
  }
  unwritten_.clear();
  return absl::OkStatus();
}

TraceReader::TraceReader(std::string path, rpc::UniqueFd fd)
    : path_(std::move(path)), fd_(std::move(fd)) {}

absl::StatusOr<std::unique_ptr<TraceReader>> TraceReader::Open(
    const std::string& path) {
  rpc::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.is_valid()) return Failed("open", path);
  return std::unique_ptr<TraceReader>(new TraceReader(path, std::move(fd)));
}

absl::StatusOr<bool> TraceReader::Fill(std::size_t size) {
  if (ahead_.size() - taken_ >= size) return true;
  ahead_.erase(0, std::exchange(taken_, 0));
  while (ahead_.size() < size) {
    const std::size_t had = ahead_.size();
    ahead_.resize(had + kChunk);
    const ssize_t n = ::read(fd_.get(), ahead_.data() + had, kChunk);
    ahead_.resize(had + std::max<ssize_t>(n, 0));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Failed("read", path_);
    if (n == 0) return false;
  }
  return true;
}

absl::Status TraceReader::Broken() const {
  return absl::DataLossError(
      absl::StrCat(path_, " is no trace, or is broken: what is at byte ",
                   offset_, ", after ", record_, " records, is no record"));
}

absl::StatusOr<std::optional<TraceReader::Extent>> TraceReader::Find() {
  TANDEM_RETURN_IF_ERROR(Fill(kLongestVarint).status());
  const std::string_view head = std::string_view(ahead_).substr(taken_);
  if (head.empty()) return std::nullopt;
  const auto length = ReadLength(head);
  if (!length && head.size() >= kLongestVarint) return Broken();
  if (length && length->first > kLargest) return Broken();
  bool is_whole = false;
  if (length) {
    TANDEM_ASSIGN_OR_RETURN(is_whole, Fill(length->second + length->first));
  }
  if (!is_whole) {
    // Any file looks so; what is no trace is not to be cut.
    if (record_ == 0) return Broken();
    is_cut_ = true;
    return std::nullopt;
  }
  return Extent{.head = length->second, .body = length->first};
}

void TraceReader::Pass(const Extent& extent) {
  taken_ += extent.head + extent.body;
  offset_ += static_cast<std::int64_t>(extent.head + extent.body);
  ++record_;
}

absl::StatusOr<bool> TraceReader::Skip() {
  TANDEM_ASSIGN_OR_RETURN(const std::optional<Extent> extent, Find());
  if (extent) Pass(*extent);
  return extent.has_value();
}

absl::StatusOr<std::optional<v1::TraceRecord>> TraceReader::Next() {
  TANDEM_ASSIGN_OR_RETURN(const std::optional<Extent> extent, Find());
  if (!extent) return std::nullopt;
  v1::TraceRecord record;
  if (!record.ParseFromArray(ahead_.data() + taken_ + extent->head,
                             static_cast<int>(extent->body)) ||
      record.event_case() == v1::TraceRecord::EVENT_NOT_SET ||
      (record_ == 0 && !record.has_started())) {
    return Broken();
  }
  Pass(*extent);
  return record;
}

}  // namespace tandem::abci
