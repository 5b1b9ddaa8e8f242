// The client's end of a stream over ttrpc.

#ifndef TANDEM_RPC_WIRE_TTRPC_CLIENT_END_H_
#define TANDEM_RPC_WIRE_TTRPC_CLIENT_END_H_

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "google/protobuf/message_lite.h"
#include "rpc/base/mutex.h"
#include "rpc/client/transport.h"
#include "rpc/wire/frames/inbox.h"
#include "rpc/wire/method.h"

namespace tandem::rpc::ttrpc {

class ClientConnection;

// Ownership: shared by the caller, and by the connection until the call has
// ended. Thread safety: thread-safe.
class ClientEnd final : public ClientStream,
                        public std::enable_shared_from_this<ClientEnd>,
                        private Inbox::Owner {
 public:
  // `sends`: the client streams, too.
  ClientEnd(std::shared_ptr<ClientConnection> connection, const Method& method,
            bool sends);

  absl::Status Send(const google::protobuf::MessageLite& message) override
      ABSL_LOCKS_EXCLUDED(mu_);
  void OnWritable(Ready ready) override ABSL_LOCKS_EXCLUDED(mu_);
  void Receive(google::protobuf::MessageLite* into, Received done) override;
  void CloseSend() override ABSL_LOCKS_EXCLUDED(mu_);
  void Cancel() override;
  absl::Status status() const override ABSL_LOCKS_EXCLUDED(mu_);

  // For the connection.

  // Before anything else.
  void set_id(std::uint32_t id) { id_ = id; }
  // The client may still send.
  bool is_half_open() const ABSL_LOCKS_EXCLUDED(mu_);
  // A message has come.
  void OnMessage(std::string_view bytes);
  // The server takes so many messages more.
  void OnCredit(std::uint32_t messages) ABSL_LOCKS_EXCLUDED(mu_);
  // It is known by now whether credit counts.
  void OnAgreement() ABSL_LOCKS_EXCLUDED(mu_);
  // The call has ended. `can_be_read`: what has come still can.
  void End(const absl::Status& status, bool can_be_read)
      ABSL_LOCKS_EXCLUDED(mu_);

 private:
  bool Parse(std::string_view bytes,
             google::protobuf::MessageLite* into) override
      ABSL_LOCKS_EXCLUDED(mu_);
  void OnTaken() override ABSL_LOCKS_EXCLUDED(mu_);
  void OnDrained() override ABSL_LOCKS_EXCLUDED(mu_);

  // Grants what was taken, if that is worth a frame.
  void Grant() ABSL_LOCKS_EXCLUDED(mu_);
  bool has_credit() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const std::shared_ptr<ClientConnection> connection_;
  const Method& method_;
  std::uint32_t id_ = 0;

  Inbox inbox_;

  mutable Mutex mu_;
  // Messages that may still be sent, where that counts.
  std::uint32_t credit_ ABSL_GUARDED_BY(mu_);
  // Messages taken that no credit was granted for.
  std::uint32_t taken_ ABSL_GUARDED_BY(mu_) = 0;
  // Wait for credit.
  std::vector<Ready> writable_ ABSL_GUARDED_BY(mu_);
  // Send takes no more.
  bool is_send_over_ ABSL_GUARDED_BY(mu_);
  // The server was told so.
  bool is_closed_ ABSL_GUARDED_BY(mu_);
  bool has_ended_ ABSL_GUARDED_BY(mu_) = false;
  absl::Status end_ ABSL_GUARDED_BY(mu_);
  // The reader was told that there are no more messages.
  bool is_drained_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace tandem::rpc::ttrpc

#endif  // TANDEM_RPC_WIRE_TTRPC_CLIENT_END_H_
