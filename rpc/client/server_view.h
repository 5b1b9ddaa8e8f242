// What a connection knows of its server, to say it in errors.

#ifndef TANDEM_RPC_CLIENT_SERVER_VIEW_H_
#define TANDEM_RPC_CLIENT_SERVER_VIEW_H_

#include <atomic>
#include <map>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "rpc/base/mutex.h"
#include "rpc/wire/method.h"
#include "tandem/rpc/v1/session.pb.h"

namespace tandem::rpc {

// The words in which calls end that the server did not answer, the same over
// every wire.
//
// Thread safety: thread-safe.
class ServerView {
 public:
  // `peer` is what errors call the server, such as "unix:/run/kv/kv.sock";
  // `wire` is what we speak, such as "gRPC", and lives for ever.
  ServerView(std::string peer, std::string_view wire)
      : peer_(std::move(peer)), wire_(wire) {}

  const std::string& peer() const { return peer_; }

  // The server has answered something: it let us in.
  void SetAnswered() { is_answered_.store(true, std::memory_order_relaxed); }
  bool is_answered() const {
    return is_answered_.load(std::memory_order_relaxed);
  }

  // What it was built from.
  void set_hello(const v1::HelloReply& hello) ABSL_LOCKS_EXCLUDED(mu_);

  // kUnavailable: the call was not begun, since the connection has ended.
  absl::Status Closed(const Method& method) const;
  // kUnavailable: the connection ended, because of `why`, before the answer.
  absl::Status Broken(const Method& method, std::string_view why) const;
  // kUnavailable: it speaks something else, as `why` shows.
  absl::Status SpeaksAnother(const Method& method, std::string_view why) const;
  // kUnavailable: the server gave the call up.
  absl::Status Stopping(const Method& method) const;
  // kDeadlineExceeded.
  absl::Status TooLate(const Method& method, absl::Duration timeout) const;
  // kUnimplemented.
  absl::Status MissingMethod(const Method& method) const
      ABSL_LOCKS_EXCLUDED(mu_);

 private:
  absl::Status NotLetIn(const Method& method) const;

  const std::string peer_;
  const std::string_view wire_;
  std::atomic<bool> is_answered_{false};

  mutable Mutex mu_;
  bool knows_services_ ABSL_GUARDED_BY(mu_) = false;
  // By service.
  std::map<std::string, std::string, std::less<>> fingerprints_
      ABSL_GUARDED_BY(mu_);
};

// kCancelled, by who began the call.
absl::Status CancelledByCaller(const Method& method);

// The status of a reply that was refused as kInvalidArgument, as the client
// sees it: not its argument is wrong, but its .proto.
absl::Status FitsClient(const absl::Status& status);

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_CLIENT_SERVER_VIEW_H_
