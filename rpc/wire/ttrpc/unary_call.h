// A unary call that came over ttrpc.

#ifndef TANDEM_RPC_WIRE_TTRPC_UNARY_CALL_H_
#define TANDEM_RPC_WIRE_TTRPC_UNARY_CALL_H_

#include <cstdint>
#include <memory>
#include <utility>

#include "rpc/server/reply.h"
#include "rpc/server/worker_pool.h"
#include "rpc/wire/ttrpc/frame.h"
#include "rpc/wire/ttrpc/method_table.h"

namespace tandem::rpc::ttrpc {

class ServedConnection;

// The handler's call and the pool's job in one, with its request. Used again
// for the next call of the same method on the same connection, so that most
// calls allocate nothing.
//
// Ownership: the connection's. It keeps the connection until it has been
// answered. Thread safety: as ServerCall; Begin() and the rest are for the
// connection's thread.
class UnaryCall final : public ServerCall, public Job {
 public:
  UnaryCall(const Target& target, ActiveCall active)
      : ServerCall(std::move(active)),
        target_(target),
        request_(target.method->request->New()) {}
  ~UnaryCall() = default;

  // Makes it another call.
  void BeginAgain(ActiveCall active) { Restart(std::move(active)); }

  // What the client asked for, but for the payload.
  void Begin(std::shared_ptr<ServedConnection> connection, std::uint32_t id,
             absl::Time deadline, Metadata& metadata) {
    connection_ = std::move(connection);
    id_ = id;
    deadline_ = deadline;
    metadata_.swap(metadata);
    was_late_ = false;
  }
  // Counts and parses the payload. Errors: those for which the call must end.
  absl::Status TakePayload(std::string_view payload);
  // Of a call whose request took much memory.
  bool is_large() const { return is_large_; }

  const google::protobuf::MessageLite& request() const override {
    return *request_;
  }
  void Finish(const absl::Status& status,
              google::protobuf::MessageLite* reply) override;

  // Has the handler run, here.
  void Run() override;

  // Nobody waits for it any more.
  void Cancel() { MarkCancelled(); }
  // The same, because of the deadline: that is the answer, whatever the handler
  // says now. A client may notice a moment later than we do.
  void CancelLate() {
    was_late_ = true;
    MarkCancelled();
  }
  bool was_late() const { return is_cancelled() && was_late_; }

  const Target& target() const { return target_; }
  std::uint32_t id() const { return id_; }

 private:
  friend class ServedConnection;

  const Target& target_;
  const std::unique_ptr<google::protobuf::MessageLite> request_;
  std::shared_ptr<ServedConnection> connection_;  // Until it is answered.
  std::uint32_t id_ = 0;
  bool is_large_ = false;
  bool was_late_ = false;      // Set before it is cancelled.
  UnaryCall* next_ = nullptr;  // The connection's.
};

}  // namespace tandem::rpc::ttrpc

#endif  // TANDEM_RPC_WIRE_TTRPC_UNARY_CALL_H_
