// Calls of the app contract, as records of a trace.

#ifndef TANDEM_PROTO_ABCI_CALL_RECORDER_H_
#define TANDEM_PROTO_ABCI_CALL_RECORDER_H_

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "google/protobuf/message.h"
#include "rpc/base/mutex.h"
#include "tandem/abci/v1/trace.pb.h"

namespace tandem::abci {

class TraceWriter;

// Makes the records of what one program does, in their order. Say Began()
// before the application is asked, and Ended() before its answer is used.
//
// Thread safety: thread-safe.
class CallRecorder {
 public:
  // Takes each record, one at a time, under a lock.
  using Sink = std::function<void(const v1::TraceRecord& record)>;

  // `program`, its name and version, is for people.
  CallRecorder(std::string program, Sink sink);

  // Returns the connection's number.
  std::uint64_t Connected() ABSL_LOCKS_EXCLUDED(mu_);
  void Disconnected(std::uint64_t connection) ABSL_LOCKS_EXCLUDED(mu_);

  // Returns the call's number. `request` is one of tendermint.abci, such as
  // RequestInfo; `connection` 0 when connections are unknown.
  std::uint64_t Began(std::uint64_t connection,
                      const google::protobuf::Message& request)
      ABSL_LOCKS_EXCLUDED(mu_);

  // `answer`: a response of tendermint.abci, such as ResponseInfo.
  template <typename Response>
  void Ended(std::uint64_t call, const absl::StatusOr<Response>& answer) {
    EndedWith(call, answer.status(), answer.ok() ? &*answer : nullptr);
  }

 private:
  void EndedWith(std::uint64_t call, const absl::Status& status,
                 const google::protobuf::Message* response)
      ABSL_LOCKS_EXCLUDED(mu_);
  void Take(v1::TraceRecord& record) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Sink sink_;
  rpc::Mutex mu_;
  std::uint64_t connections_ ABSL_GUARDED_BY(mu_) = 0;
  std::uint64_t calls_ ABSL_GUARDED_BY(mu_) = 0;
};

// A sink that writes to `writer`, which outlives it. Calls of which there are
// many (CheckTx, Query and their kin) stay in memory until another record, or
// enough of them, come: they wait for no file. All others are with the kernel
// before the call goes on, so that a trace is exact even when the program is
// killed. A file that cannot be written ends the recording, and the log says
// so; the program goes on.
CallRecorder::Sink WriteTo(TraceWriter& writer);

}  // namespace tandem::abci

#endif  // TANDEM_PROTO_ABCI_CALL_RECORDER_H_
