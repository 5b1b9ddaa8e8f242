// Traces in files: tandem/abci/v1/trace.proto says what is in them.

#ifndef TANDEM_PROTO_ABCI_TRACE_FILE_H_
#define TANDEM_PROTO_ABCI_TRACE_FILE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "rpc/base/unique_fd.h"
#include "tandem/abci/v1/trace.pb.h"

namespace tandem::abci {

// Appends to a trace.
//
// Thread safety: thread-compatible.
class TraceWriter {
 public:
  // Opens `path`, makes it (mode 0600) when it is missing, and cuts off a last
  // record that a crash has cut. One process writes at a time. Errors:
  // kFailedPrecondition when another does; kDataLoss when the file is no trace;
  // else those of absl::ErrnoToStatus.
  static absl::StatusOr<std::unique_ptr<TraceWriter>> Open(
      const std::string& path);
  // Flushes.
  ~TraceWriter();

  // Appends a record, which stays in memory for now.
  absl::Status Append(const v1::TraceRecord& record);
  // Hands what is in memory to the kernel: then it survives this process.
  // Append() does it by itself when there is much.
  absl::Status Flush();

 private:
  TraceWriter(std::string path, rpc::UniqueFd fd);

  const std::string path_;
  const rpc::UniqueFd fd_;
  std::string unwritten_;
};

// Reads a trace from its beginning.
//
// Thread safety: thread-compatible.
class TraceReader {
 public:
  // Errors: those of absl::ErrnoToStatus.
  static absl::StatusOr<std::unique_ptr<TraceReader>> Open(
      const std::string& path);

  // The next record; none at the end. Errors: kDataLoss when what is there is
  // no record, and says where.
  absl::StatusOr<std::optional<v1::TraceRecord>> Next();

  // Passes over the next record, whatever it is; false at the end. Errors as
  // Next(), where there cannot be a record.
  absl::StatusOr<bool> Skip();

  // How many bytes of whole records were read.
  std::int64_t offset() const { return offset_; }
  // At the end: whether the last record is cut, as a crash leaves it.
  bool is_cut() const { return is_cut_; }

 private:
  TraceReader(std::string path, rpc::UniqueFd fd);

  // Finds the next record, which then begins at taken_; its length, and that of
  // the varint before it. None at the end.
  struct Extent {
    std::size_t head;
    std::size_t body;
  };
  absl::StatusOr<std::optional<Extent>> Find();
  void Pass(const Extent& extent);
  absl::Status Broken() const;

  // Reads until `size` bytes are in ahead_; false when the file ends before.
  absl::StatusOr<bool> Fill(std::size_t size);

  const std::string path_;
  const rpc::UniqueFd fd_;
  std::string ahead_;  // read from the file; its first taken_ bytes are done
  std::size_t taken_ = 0;
  std::int64_t offset_ = 0;
  std::int64_t record_ = 0;
  bool is_cut_ = false;
};

}  // namespace tandem::abci

#endif  // TANDEM_PROTO_ABCI_TRACE_FILE_H_
